#!/usr/bin/env bash
# check-deb.sh: see that a Debian package is what it should be: it is installed into a root of its own, run, and
# removed again.
#
# usage: check-deb.sh PACKAGE
#
# It needs dpkg, and as another user than root fakeroot; with lintian and systemd-analyze it looks closer.
set -euo pipefail

[ $# -eq 1 ] || { echo 'usage: check-deb.sh PACKAGE' >&2; exit 2; }
[ "$(id -u)" -eq 0 ] || [ -n "${FAKEROOTKEY:-}" ] || exec fakeroot "$0" "$@"
package=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
fail() {
	echo "check-deb.sh: $*" >&2
	exit 1
}
in_root() {
	dpkg --root="$root" --force-script-chrootless --force-not-root --log=/dev/null "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "dpkg $1"; }
}

mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates" "$root/var/lib/dpkg/triggers"
touch "$root/var/lib/dpkg/status"
(cd "$root" && find . -mindepth 1 ! -path './var/lib/dpkg*' | sort) >"$work/before"

# None of its files is another package's on this machine.
dpkg-deb --fsys-tarfile "$package" | tar -t | sed 's|^\.||' | grep -v '/$' >"$work/files"
while read -r file; do
	owner=$(dpkg-query -S "$file" 2>/dev/null | cut -d : -f 1) || continue
	[ "$owner" = sockbox ] || fail "$file: belongs to $owner"
done <"$work/files"

in_root -i "$package"
export SOCKBOX_DIR=$work/run
mkdir -m 700 "$SOCKBOX_DIR"
"$root/usr/bin/sockbox" --version
"$root/usr/bin/bind-input" mail "unix:$work/mail.sock" >/dev/null
"$root/usr/bin/bind-output" post "unix:$work/mail.sock" >/dev/null
"$root/usr/libexec/sockbox/write" post hello
[ "$("$root/usr/bin/sock-read" -t 10 mail)" = hello ] || fail 'the message did not come'
"$root/usr/bin/sockbox" close post mail
for page in "$root"/usr/share/man/man?/*.gz; do
	zcat "$page" | grep -q '^\.TH ' || fail "$page: no page"
done

if command -v systemd-analyze >/dev/null; then
	mkdir "$work/system" "$work/user"
	for kind in system user; do
		for unit in "$root/usr/lib/systemd/$kind"/*; do
			sed "s|=/usr/bin/|=$root/usr/bin/|" "$unit" >"$work/$kind/${unit##*/}"
		done
	done
	export MANPATH=$root/usr/share/man XDG_RUNTIME_DIR=$work
	systemd-analyze verify "$work"/system/* || fail 'systemd does not take the units'
	systemd-analyze --user verify "$work"/user/* || fail "systemd does not take the user's units"
else
	echo 'systemd-analyze: not here, skipped'
fi

in_root -r sockbox
in_root -P sockbox
(cd "$root" && find . -mindepth 1 ! -path './var/lib/dpkg*' | sort) >"$work/after"
cmp "$work/before" "$work/after" || fail 'something is left of it'

if command -v lintian >/dev/null; then
	# Whose address it is, is for whoever makes the package.
	lintian --allow-root --fail-on error --suppress-tags bogus-mail-host,bogus-mail-host-in-debian-changelog "$package"
else
	echo 'lintian: not here, skipped'
fi
