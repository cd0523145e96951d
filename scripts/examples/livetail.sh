#!/usr/bin/env bash
# livetail.sh: let others see a file grow: who connects sees its last lines, and then each one as it comes.
#
# usage: livetail.sh FILE ENDPOINT
#
# example, where the file is:   livetail.sh /var/log/syslog 9999
#          anywhere else:       nc otherhost 9999
#
# One at a time can look. The last 64 KiB are kept for who comes next; older lines are dropped, and nobody
# who is slow holds up anything. FILE may be rotated. Nothing is encrypted: "127.0.0.1:9999" as ENDPOINT, and
# a tunnel, keep it to those who may log in. INT or TERM ends it.
set -euo pipefail

if [ $# -ne 2 ]; then
	echo 'usage: livetail.sh FILE ENDPOINT' >&2
	exit 2
fi
file=$1 endpoint=$2
buffer=tail-$$

sockbox bind-output --listen --overflow drop-oldest --capacity 64K "$buffer" "$endpoint" >/dev/null
# A child that is killed before it is tail would run the trap too.
trap '[ "$BASHPID" != $$ ] || sockbox close --quiet --now "$buffer" || true' EXIT

exec 3< <(exec tail -n 50 -F -- "$file" 2>/dev/null)
tail=$!
sockbox write "$buffer" <&3 &
exec 3<&-

# Without tail the pipe ends, and so does the writer.
trap 'kill "$tail"' INT TERM HUP
wait || true
wait
