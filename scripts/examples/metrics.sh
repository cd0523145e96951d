#!/usr/bin/env bash
# metrics.sh: count what programs report by UDP, in the form of statsd: NAME:VALUE|c is added up, and
# of NAME:VALUE|g the last is kept. A datagram may hold several of them, one a line.
#
# usage: metrics.sh ADDR:PORT SECONDS
#
# example, the collector:   metrics.sh 127.0.0.1:8125 60 >>metrics.tsv
#          a reporter:      echo 'logins:1|c' >/dev/udp/127.0.0.1/8125
#
# Every SECONDS it prints a line "TIME NAME VALUE", with tabs, for each name that was reported since the
# last time. INT or TERM ends it after the last lines.
set -euo pipefail

if [ $# -ne 2 ]; then
	echo 'usage: metrics.sh ADDR:PORT SECONDS' >&2
	exit 2
fi
address=$1 seconds=$2
buffer=metrics-$$

report() {
	sockbox read --all "$buffer" | awk -F'[:|]' -v OFS='\t' -v now="$(date -u +%FT%TZ)" '
		NF < 3 { next }
		$3 == "c" { value[$1] += $2 }
		$3 == "g" { value[$1] = $2 }
		END { for (name in value) print now, name, value[name] }' | sort
}

sockbox bind-input --overflow drop-oldest "$buffer" "udp://$address" >/dev/null
# A child that is killed before it is sleep would run the trap too.
trap '[ "$BASHPID" != $$ ] || sockbox close "$buffer" || exit 1' EXIT
going=yes
trap 'going=' INT TERM HUP
while [ "$going" ]; do
	sleep "$seconds" &
	wait $! || kill $! 2>/dev/null || true
	report || true # nothing came
done
