#!/usr/bin/env bash
# copy.sh: copy a file to another machine, and see that it is the same there.
#
# usage: copy.sh receive ENDPOINT DIR
#        copy.sh send FILE HOST PORT
#
# example, where it goes to:     copy.sh receive 9999 ~/incoming
#          where it comes from:  copy.sh send photos.tar otherhost 9999
#
# The receiver takes one file and ends. Its status tells: it is 0, and the file is in DIR under its own
# name, only if the check sum is right; a file that is there already stays. It crosses the network as
# lines: the check sum and the name, then base64. Nothing is encrypted, and nobody is asked who he is.
set -euo pipefail

buffer=copy-$$

fail() {
	echo "copy.sh: $*" >&2
	exit 1
}

checksum() { sha256sum | cut -d ' ' -f 1; }

send() {
	local file=$1 sum
	sum=$(checksum <"$file")
	sockbox bind-output "$buffer" "$2" "$3" >/dev/null
	trap 'sockbox close --quiet --now "$buffer" || true' EXIT
	{
		printf '%s %s\n' "$sum" "${file##*/}"
		base64 -- "$file"
	} | sockbox write "$buffer"
	sockbox close "$buffer" # delivers first
}

receive() {
	local dir=$2 sum name
	part=$(mktemp -- "$dir/.copy.XXXXXX")
	trap 'rm -f -- "$part"; sockbox close --quiet --now "$buffer" || true' EXIT
	sockbox bind-input --once "$buffer" "$1" >/dev/null
	{
		IFS=' ' read -r sum name || fail 'nothing came'
		base64 -d >"$part" || fail "$name: not all of it came"
	} < <(sockbox read --follow "$buffer")
	case $name in
	'' | .* | */*) fail "not a name for a file: $name" ;;
	esac
	[ "$(checksum <"$part")" = "$sum" ] || fail "$name: the check sum is wrong"
	chmod "$(printf '%o' $((0666 & ~$(umask))))" "$part"
	ln -T -- "$part" "$dir/$name" # fails if it is there, unlike mv
	echo "$dir/$name"
}

case ${1:-}:$# in
send:4) send "$2" "$3" "$4" ;;
receive:3) receive "$2" "$3" ;;
*)
	echo 'usage: copy.sh receive ENDPOINT DIR | copy.sh send FILE HOST PORT' >&2
	exit 2
	;;
esac
