#!/usr/bin/env bash
# buildfeed.sh: run a build, and let others see how it goes: who connects sees the last lines, and then
# each one as it comes.
#
# usage: buildfeed.sh ENDPOINT COMMAND [ARG...]
#
# example, where it is built:   buildfeed.sh 9999 make -j8
#          anywhere else:       nc buildhost 9999
#
# One at a time can watch. The build never waits for anybody: for who is too slow the oldest lines are
# dropped. The last line is COMMAND's status, which is this script's too.
set -euo pipefail

if [ $# -lt 2 ]; then
	echo 'usage: buildfeed.sh ENDPOINT COMMAND [ARG...]' >&2
	exit 2
fi
endpoint=$1
shift
buffer=build-$$

# shellcheck disable=SC2317,SC2329 # the trap calls it
leave() {
	[ "$BASHPID" = $$ ] || return
	local now=''
	exec 3>&-
	[ -z "${feed:-}" ] || wait "$feed" || true # the buffer has all of it
	# Where nobody watches nothing can be delivered.
	[[ $(sockbox list --json "$buffer" 2>/dev/null) != *'"peers":0,'* ]] || now=yes
	sockbox close --quiet ${now:+--now} "$buffer" || true
}
sockbox bind-output --listen --overflow drop-oldest --capacity 64K "$buffer" "$endpoint" >/dev/null
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

exec 3> >(exec sockbox write "$buffer")
feed=$!
set +e
"$@" 2>&1 3>&- | tee /dev/fd/3
status=${PIPESTATUS[0]}
set -e
echo "status $status: $*" >&3
exit "$status"
