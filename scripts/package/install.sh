#!/bin/sh
# install.sh: what "make install" and "make uninstall" do.
#
# usage: PREFIX=/usr/local DESTDIR= install.sh install|uninstall
#
# It installs ./sockbox, which has been built, or $PROGRAM. What it puts in place is listed in PREFIX/share/sockbox/installed, by
# which it knows its own: a file that is not in that list is somebody else's and stays, and where one
# is in the way nothing is installed at all, unless FORCE=1.
#
# Names that are nobody else's are linked in bin. All of them, those too that clash with others (read is
# the shells' and write the system's), are in libexec/sockbox, for who puts that folder at the end of PATH.
set -eu
umask 022
export LC_ALL=C # the list is sorted by bytes: what is in a folder is behind it
cd "$(dirname "$0")/../.."

PREFIX=${PREFIX:-/usr/local}
PREFIX=${PREFIX%/} DESTDIR=${DESTDIR:-} FORCE=${FORCE:-}
PROGRAM=${PROGRAM:-./sockbox}
# Where a distribution has its own places: Debian's zsh looks for packages' completions elsewhere.
ZSHDIR=${ZSHDIR:-share/zsh/site-functions}
USERUNITDIR=${USERUNITDIR:-share/systemd/user}
UNITDIR=${UNITDIR:-lib/systemd/system}

manifest=$PREFIX/share/sockbox/installed
new=.sockbox-new # behind the name of what is being put in its place

fail() {
	echo "install.sh: $*" >&2
	exit 1
}

# stage DIR: put everything into DIR, as it is to be in PREFIX.
stage() {
	mkdir -p "$1/bin" "$1/libexec/sockbox" "$1/share/man/man1" "$1/share/man/man7" "$1/share/bash-completion/completions" \
		"$1/$ZSHDIR" "$1/share/fish/vendor_completions.d" "$1/$UNITDIR" "$1/$USERUNITDIR" "$1/lib/sysusers.d" \
		"$1/share/doc/sockbox/examples"
	install -m 755 "$PROGRAM" "$1/bin/sockbox"
	install -m 644 completions/_sockbox "$1/$ZSHDIR/_sockbox"
	install -m 644 completions/sockbox.bash "$1/share/bash-completion/completions/sockbox"
	install -m 644 completions/sockbox.fish "$1/share/fish/vendor_completions.d/sockbox.fish"
	for page in $("$PROGRAM" --list) help; do
		"$PROGRAM" help --man "$page" >"$1/share/man/man1/sockbox-$page.1"
	done
	"$PROGRAM" help --man >"$1/share/man/man1/sockbox.1"
	"$PROGRAM" help --man protocols >"$1/share/man/man7/sockbox-protocols.7"

	mkdir "$1/names"
	"$PROGRAM" --install "$1/names"
	for name in "$1/names"/*; do
		name=${name##*/}
		ln -s ../../bin/sockbox "$1/libexec/sockbox/$name"
		case $name in
		*-* | sock*) ;;
		*) continue ;;
		esac
		ln -s sockbox "$1/bin/$name"
		# Of what is called by another name too, as sock-read is, the page has the applet's.
		page=sockbox-$name.1
		[ -e "$1/share/man/man1/$page" ] || page=sockbox-${name#sock-}.1
		[ -e "$1/share/man/man1/$page" ] || page=sockbox-${name#sock}.1
		[ -e "$1/share/man/man1/$page" ] || page=${page%.*.1}.1 # sockexec.client
		ln -s "$page" "$1/share/man/man1/$name.1"
		# bash and fish look for the completion of a command in a file with its name.
		ln -s sockbox "$1/share/bash-completion/completions/$name"
		ln -s sockbox.fish "$1/share/fish/vendor_completions.d/$name.fish"
	done
	rm -r "$1/names"

	program=$PREFIX/bin/sockbox
	case $program in
	*[!A-Za-z0-9/._+-]*) program=\"$(printf '%s\n' "$program" | sed 's/[\\"]/\\&/g; s/%/%%/g')\" ;; # systemd.syntax(7)
	esac
	program=$(printf '%s\n' "$program" | sed 's/[|&\\]/\\&/g')
	for unit in scripts/package/system/*.service; do
		sed "s|=/usr/bin/sockbox |=$program |" "$unit" >"$1/$UNITDIR/${unit##*/}"
	done
	for unit in scripts/package/user/*.service; do
		sed "s|=/usr/bin/sockbox |=$program |" "$unit" >"$1/$USERUNITDIR/${unit##*/}"
	done
	install -m 644 scripts/package/sysusers.conf "$1/lib/sysusers.d/sockbox.conf"
	install -m 644 README.md CHANGELOG.md LICENSE "$1/share/doc/sockbox"
	install -m 755 scripts/examples/*.sh "$1/share/doc/sockbox/examples"
}

# folder DIR: make it, with those above it, and note in $list which were not there.
folder() {
	[ ! -d "$DESTDIR$1" ] || return 0
	folder "${1%/*}"
	mkdir "$DESTDIR$1"
	echo "$1/" >>"$list"
}

put() {
	list=$temp/installed
	: >"$list"
	stage "$temp/tree"
	(cd "$temp/tree" && find . ! -type d) | sort | while IFS= read -r file; do
		printf '%s\n' "$PREFIX${file#.}"
	done >"$temp/files"

	: >"$temp/before"
	[ ! -e "$DESTDIR$manifest" ] || sort "$DESTDIR$manifest" >"$temp/before"
	while IFS= read -r file; do
		[ ! -e "$DESTDIR$file" ] && [ ! -L "$DESTDIR$file" ] || printf '%s\n' "$file"
	done <"$temp/files" | comm -23 - "$temp/before" >"$temp/foreign"
	while IFS= read -r file; do
		echo "install.sh: $DESTDIR$file: exists, and was not installed by this" >&2
	done <"$temp/foreign"
	[ ! -s "$temp/foreign" ] || [ "$FORCE" ] || fail 'nothing was installed; FORCE=1 puts ours in their place'

	[ -z "$DESTDIR" ] || mkdir -p "$DESTDIR"
	while IFS= read -r file; do
		folder "${file%/*}"
	done <"$temp/files"
	folder "${manifest%/*}"
	echo "$manifest" >>"$list"
	grep '/$' "$temp/before" >>"$list" || true

	# The list is there before what it lists: what was broken off can be repeated, and taken away.
	record "$temp/before"
	while IFS= read -r file; do
		# Renamed into place: a sockbox that runs goes on with the file it has.
		cp -fP "$temp/tree${file#"$PREFIX"}" "$DESTDIR$file$new"
		mv -f "$DESTDIR$file$new" "$DESTDIR$file"
	done <"$temp/files"

	# What the version before had, and this one has not.
	sort -u "$temp/files" "$list" | comm -23 "$temp/before" - | while IFS= read -r file; do
		rm -f "$DESTDIR$file"
	done
	record
}

# record [FILE]: write the list, with what FILE lists too.
record() {
	sort -u "$temp/files" "$list" "$@" >"$DESTDIR$manifest$new"
	mv -f "$DESTDIR$manifest$new" "$DESTDIR$manifest"
}

take() {
	[ -e "$DESTDIR$manifest" ] || fail "$DESTDIR$manifest: not there: nothing was installed with this PREFIX"
	sort -r "$DESTDIR$manifest" >"$temp/list" # what is in a folder before the folder
	while IFS= read -r file; do
		case $file in
		*/ | "$manifest") ;;
		*) rm -f "$DESTDIR$file" "$DESTDIR$file$new" ;;
		esac
	done <"$temp/list"
	rm -f "$DESTDIR$manifest" "$DESTDIR$manifest$new" # when there is nothing left that it tells of
	grep '/$' "$temp/list" | while IFS= read -r folder; do
		rmdir "$DESTDIR${folder%/}" 2>/dev/null || true # somebody else may use it too by now
	done
}

case $PREFIX in
/*[!/]) ;;
*) fail "PREFIX: $PREFIX: not the whole path of a folder" ;;
esac
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT
trap 'exit 1' INT TERM HUP
case ${1:-} in
install) put ;;
uninstall) take ;;
*)
	echo 'usage: install.sh install|uninstall' >&2
	exit 2
	;;
esac
