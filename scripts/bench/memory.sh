#!/usr/bin/env bash
# memory.sh: what 1,000 idle peers cost: the memory of a bind-input, against a Go program that only
# accepts, and socat with a process for each. Memory is what is resident (proc(5), Rss), and, for the
# sake of the many socats, also with the pages that processes share counted once (Pss).
#
# usage: memory.sh; environment: ROUNDS (5), PEERS (1000)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${PEERS:=1000}"
[ "$(ulimit -n)" -gt $((PEERS + 100)) ] || ulimit -n $((PEERS + 100)) || fail "too few descriptors for $PEERS peers"

# family PID: it and its children.
family() {
	echo "$1"
	tr ' ' '\n' <"/proc/$1/task/$1/children"
}

# memory Rss|Pss PID: KiB of it and its children.
# shellcheck disable=SC2016 # awk's own variables
memory() {
	family "$2" | sed '/./!d; s|.*|/proc/&/smaps_rollup|' |
		xargs awk -v what="$1:" '$1 == what { sum += $2 } END { print sum + 0 }'
}

# idle ARG...: start the tool, and wait until it is ready; its PID is in idle.
idle() {
	local line
	rm -f "$tmp/ready"
	mkfifo "$tmp/ready"
	"$bin/idle" "$@" >"$tmp/ready" &
	idle=$!
	read -r line <"$tmp/ready" || line=
	[ "$line" = ready ] || fail "idle $*: no connections"
}

# end PID: a job of ours.
end() {
	kill "$1"
	wait "$1" || true
}

# measure PROGRAM PID PORT COUNTER: with nobody there, and with PEERS there, which COUNTER has to see.
measure() {
	local program=$1 pid=$2 port=$3 counter=$4 before rss i
	before=$(memory Rss "$pid")
	idle dial "$PEERS" "127.0.0.1:$port"
	for ((i = 0; ; i++)); do
		[ "$("$counter" "$pid")" -lt "$PEERS" ] || break
		[ "$i" -lt 200 ] || fail "$program: took $("$counter" "$pid") of $PEERS peers"
		sleep 0.05
	done
	rss=$(memory Rss "$pid")
	record alone "$program" "$(div "$before" 1024 2)"
	record rss "$program" "$(div "$rss" 1024 2)"
	record pss "$program" "$(div "$(memory Pss "$pid")" 1024 2)"
	record each "$program" "$(div $((rss - before)) "$PEERS" 2)"
	end "$idle"
}

# Counters of peers, by PID.
sockets() { # what is no socket, and the listener, do not matter at this size
	find "/proc/$1/fd" -lname 'socket:*' | wc -l
}
children() { family "$1" | wc -l; }

for ((round = 0; round < ROUNDS; round++)); do
	ready=$("$sockbox" bind-input --bind 127.0.0.1 --print-port in 0)
	measure 'sockbox bind-input' "${ready% *}" "${ready#* }" sockets
	"$sockbox" close in

	port=$(port)
	idle accept "127.0.0.1:$port"
	accept=$idle
	measure '(a Go program that only accepts)' "$accept" "$port" sockets
	end "$accept"

	if have socat; then
		port=$(port)
		socat -u "TCP-LISTEN:$port,bind=127.0.0.1,fork,backlog=1024" OPEN:/dev/null &
		socat=$!
		listening "$port"
		measure 'socat -u TCP-LISTEN,fork' "$socat" "$port" children
		# Its children end with their peers.
		until [ "$(children "$socat")" -eq 1 ]; do sleep 0.05; done
		end "$socat"
	fi
done
table alone less MiB 'resident, with nobody there'
table rss less MiB "resident, with $PEERS idle peers"
table pss less MiB "the same, shared pages counted once"
table each less KiB "resident, for each of $PEERS peers"
