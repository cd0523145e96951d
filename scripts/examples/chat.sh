#!/usr/bin/env bash
# chat.sh: two terminals talk, each line after the name of who said it.
#
# usage: chat.sh [-b ADDR] listen PORT NAME
#        chat.sh HOST PORT NAME
#   -b  listen on ADDR only, not on every address
#
# example, on one host:   chat.sh listen 9999 anna
#          on another:    chat.sh otherhost 9999 ben
#
# PORT carries the one direction and PORT+1 the other. What the other side sends cannot do anything to the
# terminal. Ctrl-D says good-bye. Nothing is encrypted, and nobody is asked who he is.
set -euo pipefail

bind=
if [ "${1:-}" = -b ] && [ $# -gt 2 ]; then
	bind=$2
	shift 2
fi
if [ $# -ne 3 ]; then
	echo 'usage: chat.sh [-b ADDR] listen PORT NAME | chat.sh HOST PORT NAME' >&2
	exit 2
fi
name=$3
in=chat-in-$$ out=chat-out-$$

# shellcheck disable=SC2317,SC2329 # the trap calls it
leave() {
	[ "$BASHPID" = $$ ] || return
	exec 3>&-
	[ -z "${writer:-}" ] || wait "$writer" || true
	sockbox close --quiet "$out" || true # what was said is delivered first
	sockbox close --quiet --now "$in" || true
	wait
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

if [ "$1" = listen ]; then
	sockbox bind-input ${bind:+--bind "$bind"} "$in" "$2" >/dev/null
	sockbox bind-output --listen ${bind:+--bind "$bind"} "$out" $(($2 + 1)) >/dev/null
else
	sockbox bind-output "$out" "$1" "$2" >/dev/null
	sockbox bind-input --connect "$in" "$1" $(($2 + 1)) >/dev/null
fi
sockbox read --follow "$in" </dev/null &
exec 3> >(exec sockbox write "$out")
writer=$!
while IFS= read -r line; do
	printf '%s: %s\n' "$name" "$line" >&3
done
echo "$name has left" >&3
