#!/usr/bin/env bash
# shiplog.sh: send a log file to another machine as it grows, each line after the name of this one.
#
# usage: shiplog.sh [-a] FILE HOST PORT
#   -a  also what is in FILE already
#
# example, where the logs come together:   sockbox bind-input logs 9999
#                                          sockbox read --follow logs >>all.log
#          on each of the others:          shiplog.sh /var/log/syslog loghost 9999
#
# The other side may start later, or go and come back: lines wait until it is there. When the buffer is
# full too, tail waits, and FILE itself keeps the rest. FILE may be rotated. INT or TERM ends it.
set -euo pipefail

from=0
if [ "${1:-}" = -a ]; then
	from=+1
	shift
fi
if [ $# -ne 3 ]; then
	echo 'usage: shiplog.sh [-a] FILE HOST PORT' >&2
	exit 2
fi
file=$1 host=$2 port=$3
buffer=log-$$

sockbox bind-output --retry "$buffer" "$host" "$port" >/dev/null
# It delivers first. A child that is killed before it is tail would run the trap too.
trap '[ "$BASHPID" != $$ ] || sockbox close "$buffer" || exit 1' EXIT

exec 3< <(exec tail -n "$from" -F -- "$file" 2>/dev/null)
tail=$!
sed -u "s/^/${HOSTNAME%%.*} /" <&3 | sockbox write "$buffer" &
exec 3<&-

# Without tail the pipe ends, and the buffer has all of it.
trap 'kill "$tail"' INT TERM HUP
wait || true
wait
