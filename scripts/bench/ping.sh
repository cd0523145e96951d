#!/usr/bin/env bash
# ping.sh: 254 addresses of the loopback, COUNT requests to each, against fping at the same pace and one
# ping for each host; and the time that one host is said to take, against ping. It takes what ICMP takes.
#
# usage: ping.sh; environment: ROUNDS (5), COUNT (10)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${COUNT:=10}"

for ((i = 1; i <= 254; i++)); do echo "127.0.0.$i"; done >"$tmp/hosts"

# shellcheck disable=SC2329 # many and one call them by name
{
	many_sockbox() { "$sockbox" ping -q -c "$COUNT" -i 0.01 -f "$tmp/hosts"; }
	many_fping() { fping -q -c "$COUNT" -i 0 -p 10 -f "$tmp/hosts"; }
	many_ping() { xargs -P 254 -n 1 ping -n -q -c "$COUNT" -i 0.01 <"$tmp/hosts"; }
	one_sockbox() { "$sockbox" ping -c 100 -i 0.01 127.0.0.1; }
	one_ping() { ping -n -c 100 -i 0.01 127.0.0.1; }
}

# many PROGRAM: wall time, and CPU time with all children. Each host has to
# have answered every request.
many() {
	local TIMEFORMAT='%R %U %S' wall user system good
	{ time "many_$1" >"$tmp/out" 2>&1; } 2>"$tmp/time" || fail "$1: $(tail -n 1 "$tmp/out")"
	good=$(grep -c -e "= $COUNT/$COUNT/0%" -e "^$COUNT packets transmitted, $COUNT received" "$tmp/out" || true)
	[ "$good" = 254 ] || echo "$1: $good of 254 hosts answered everything"
	read -r wall user system <"$tmp/time"
	record wall "$1" "$(awk -v a="$wall" 'BEGIN { print a * 1000 }')"
	record cpu "$1" "$(awk -v a="$user" -v b="$system" 'BEGIN { print (a + b) * 1000 }')"
}

# one PROGRAM: the median of the times that it prints.
one() {
	"one_$1" >"$tmp/out" || fail "$1: $(tail -n 1 "$tmp/out")"
	record rtt "$1" "$(sed -n 's/.*time=\([0-9.]*\) ms.*/\1/p' "$tmp/out" | sort -n | awk '{ t[NR] = $1 } END { print t[int((NR + 1) / 2)] * 1000 }')"
}

programs=(sockbox)
for program in fping ping; do
	if have "$program"; then programs+=("$program"); fi
done
for ((round = 0; round < ROUNDS; round++)); do
	for program in "${programs[@]}"; do many "$program"; done
	one sockbox
	if have ping; then one ping; fi
done
table wall less ms "254 hosts, $COUNT requests each: wall time"
table cpu less ms "254 hosts, $COUNT requests each: CPU time"
table rtt less µs 'one host, 100 requests: the median that is printed'
