#!/usr/bin/env bash
# trigger.sh: from the start of the sender to the exit of who waits for it, against netcat, socat and a
# loop that looks for a file every half second.
#
# usage: trigger.sh; environment: ROUNDS (5), COUNT (20) triggers in each
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${COUNT:=20}"

# shellcheck disable=SC2329 # trigger calls them by name
{
	proven_wait() { exec "$sockbox" trigger-wait --bind 127.0.0.1 bench "$port"; }
	proven_send() { "$sockbox" trigger-send bench 127.0.0.1 "$port"; }
	plain_wait() { proven_wait; }
	plain_send() { "$sockbox" trigger-send --plain bench 127.0.0.1 "$port"; }
	mixed_wait() { proven_wait; }
	mixed_send() { nc -N 127.0.0.1 "$port" <<<bench >"$tmp/answer"; }
	nc_wait() { exec nc -l 127.0.0.1 "$port" </dev/null >"$tmp/got"; }
	nc_send() { nc -N 127.0.0.1 "$port" <<<bench; }
	socat_wait() { exec socat -u "TCP-LISTEN:$port,bind=127.0.0.1,reuseaddr" "OPEN:$tmp/got,creat"; }
	socat_send() { socat -u - "TCP:127.0.0.1:$port" <<<bench; }
	poll_wait() { until [ -e "$tmp/flag" ]; do sleep 0.5; done; }
	poll_send() { : >"$tmp/flag"; }
}

# trigger PROGRAM KIND N: N triggers, one after the other; their median is recorded.
trigger() {
	local i waiter began
	: >"$tmp/samples"
	for ((i = 0; i < $3; i++)); do
		rm -f "$tmp/flag"
		port=$(port)
		"$2_wait" &
		waiter=$!
		if [ "$2" = poll ]; then sleep "0.1$((RANDOM % 10))"; else listening "$port"; fi
		sleep 0.005 # it has nothing left to do but wait
		now
		began=$now
		"$2_send" || fail "$1: the sender's status is $?"
		wait "$waiter" || fail "$1: the waiter's status is $?"
		now
		echo $((now - began)) >>"$tmp/samples"
	done
	record p50 "$1" "$(sort -n "$tmp/samples" | awk -v at="$((($3 + 1) / 2))" 'NR == at')"
}

for ((round = 0; round < ROUNDS; round++)); do
	trigger 'sockbox --plain' plain "$COUNT"
	trigger 'sockbox, proven' proven "$COUNT"
	if have nc; then
		trigger 'nc to sockbox' mixed "$COUNT"
		trigger 'nc to nc -l' nc "$COUNT"
	fi
	if have socat; then trigger 'socat to socat' socat "$COUNT"; fi
	trigger 'a poll of 0.5 s' poll 3
done
table p50 less µs 'from the start of the sender to the exit of the waiter, median'
