#!/usr/bin/env bash
# sensors.sh: what sensors report goes into a table. Each report is a line or a datagram, "NAME VALUE"; each
# becomes a row of CSV with the time at which it came and the address that sent it.
#
# usage: sensors.sh ENDPOINT FILE
#
# example, where it comes together:   sensors.sh udp://:9999 readings.csv
#          a sensor:                  echo "cellar/temperature 12.5" >/dev/udp/otherhost/9999
#
# FILE begins with the names of the columns (RFC 4180), and grows by whole rows. What is no report is
# left out, and counted at the end. INT or TERM ends it.
set -euo pipefail

if [ $# -ne 2 ]; then
	echo 'usage: sensors.sh ENDPOINT FILE' >&2
	exit 2
fi
endpoint=$1 file=$2
buffer=sensors-$$
# As "read --json" has them; a name in these letters needs no quotes in CSV.
report='"time":"([^"]*)","peer":"([^"]*)","message":"([A-Za-z0-9_./-]+) ([-+]?[0-9]+(\.[0-9]+)?)(\\r)?(\\n)?"'

[ -s "$file" ] || echo 'time,from,name,value' >>"$file"
sockbox bind-input "$buffer" "$endpoint" >/dev/null
# It is not left alone where FILE cannot be written. A child that is killed early would run the trap too.
trap '[ "$BASHPID" != $$ ] || sockbox close --quiet "$buffer" || true' EXIT
# Without the buffer the loop ends. A foreground "sockbox read --wait" would keep the trap waiting.
trap 'sockbox close "$buffer" || true' INT TERM HUP
bad=0
while IFS= read -r line; do
	if [[ $line =~ $report ]]; then
		printf '%s,%s,%s,%s\n' "${BASH_REMATCH[@]:1:4}"
	else
		bad=$((bad + 1))
	fi
done < <(sockbox read --follow --json "$buffer") >>"$file"
[ "$bad" -eq 0 ] || echo "sensors.sh: $bad were no reports" >&2
