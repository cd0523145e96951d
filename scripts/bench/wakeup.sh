#!/usr/bin/env bash
# wakeup.sh: how soon a waiting program prints what arrives: "read --wait" behind a bind-input, against
# netcat and socat that hold the connection themselves.
#
# usage: wakeup.sh; environment: ROUNDS (5), COUNT (100) messages in each
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${COUNT:=100}"

ready=$("$sockbox" bind-input --bind 127.0.0.1 --print-port in 0)
in=${ready#* }

# wakeup PROGRAM ARG...: one round; of its figures the percentiles are recorded.
wakeup() {
	local program=$1 p
	shift
	"$bin/wakeup" "$@" >"$tmp/samples" || fail "$program: a message did not arrive"
	[ "$(wc -l <"$tmp/samples")" -eq "$COUNT" ] || fail "$program: not $COUNT messages"
	sort -n "$tmp/samples" >"$tmp/sorted"
	for p in 50 95 99; do
		record "p$p" "$program" "$(awk -v at="$(((COUNT * p + 99) / 100))" 'NR == at' "$tmp/sorted")"
	done
}

for ((round = 0; round < ROUNDS; round++)); do
	wakeup 'sockbox read --wait' dial "$COUNT" "127.0.0.1:$in" "$sockbox" read --wait in
	if have nc; then
		port=$(port)
		wakeup 'nc -d' accept "$COUNT" "127.0.0.1:$port" nc -d 127.0.0.1 "$port"
	fi
	if have socat; then
		port=$(port)
		wakeup 'socat -u' accept "$COUNT" "127.0.0.1:$port" socat -u "TCP:127.0.0.1:$port" -
	fi
done
for p in 50 95 99; do
	table "p$p" less µs "from the network to a waiting program's output, p$p of $COUNT"
done
