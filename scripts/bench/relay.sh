#!/usr/bin/env bash
# relay.sh: TCP to TCP on the loopback, against haproxy, nginx (stream), rinetd, socat and redir, and against
# nothing in between: bulk, new connections, round trips, memory with idle connections. Load and programs
# share the processors: processor time and memory say more than speed does.
#
# usage: relay.sh; environment: ROUNDS (5), IDLE (2000) connections, SECONDS_EACH (1.5), ONLY (programs)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${IDLE:=2000}" "${ONLY:=}"
ulimit -n "$(ulimit -Hn)"

"$bin/streams" origin >"$tmp/origin" &
service=$!
until [ -s "$tmp/origin" ]; do sleep 0.01; done
origin=$(<"$tmp/origin")

# Each of these becomes the program, from the port $1 to the origin.
# shellcheck disable=SC2329 # each calls them by name
{
	relay_sockbox() { exec "$sockbox" relay "127.0.0.1:$1" "127.0.0.1:$origin"; }
	relay_haproxy() {
		printf '%s\n' global 'maxconn 8000' 'nbthread 2' defaults 'mode tcp' 'timeout connect 5s' 'timeout client 1h' \
			'timeout server 1h' 'listen l' "bind 127.0.0.1:$1" "server s 127.0.0.1:$origin" >"$tmp/haproxy.cfg"
		exec haproxy -db -f "$tmp/haproxy.cfg"
	}
	relay_nginx() {
		mkdir -p "$tmp/nginx"
		cat >"$tmp/nginx/conf" <<-END
			load_module $stream;
			daemon off; worker_processes 2; pid $tmp/nginx/pid; error_log $tmp/nginx/err crit; worker_rlimit_nofile 20000;
			events { worker_connections 16000; }
			stream { server { listen 127.0.0.1:$1 backlog=4096; proxy_pass 127.0.0.1:$origin; tcp_nodelay on; } }
		END
		exec nginx -e "$tmp/nginx/err" -p "$tmp/nginx" -c "$tmp/nginx/conf"
	}
	relay_rinetd() {
		echo "127.0.0.1 $1 127.0.0.1 $origin" >"$tmp/rinetd.conf"
		exec rinetd -f -c "$tmp/rinetd.conf"
	}
	relay_socat() { exec socat "TCP-LISTEN:$1,bind=127.0.0.1,fork,reuseaddr,backlog=4096" "TCP:127.0.0.1:$origin"; }
	relay_redir() { exec redir -n "127.0.0.1:$1" "127.0.0.1:$origin"; }
}

tree() { # tree PID: it, and all that descend from it
	local child
	echo "$1"
	for child in $(cat /proc/"$1"/task/*/children 2>/dev/null || true); do tree "$child"; done
}

# used PID: processor time in microseconds, with that of children that have ended (proc(5), in ticks of 10 ms)
used() {
	local p
	for p in $(tree "$1"); do cat "/proc/$p/stat" 2>/dev/null || true; done |
		sed 's/^.*) //' | awk '{ n += $12 + $13 + $14 + $15 } END { print n * 10000 }'
}

pss() {
	local p
	for p in $(tree "$1"); do sed -n 's/^Pss: *\([0-9]*\) kB/\1/p' "/proc/$p/smaps_rollup" 2>/dev/null || true; done |
		awk '{ n += $1 } END { print n }'
}

# per NAME PROGRAM UNITS DIGITS: processor time since $before, for each unit. What redir starts is no child of
# its own after a moment, so there is nothing to sum up.
per() { [ "$2" = redir ] || record "$1" "$2" "$(div $(($(used "$pid") - before)) "$3" "$4")"; }

pin() { # pin PID PROCESSORS: it, and all that descend from it
	local p
	[ "$(nproc)" -gt 1 ] || return 0
	for p in $(tree "$1"); do taskset -apc "$2" "$p" >/dev/null 2>&1 || true; done
}

begin() { # begin PROGRAM: pid and at are set
	at=$(port)
	("relay_$1" "$at") >"$tmp/$1.log" 2>&1 &
	pid=$!
	listening "$at"
}

end() {
	kill "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || true
}

measure() { # measure PROGRAM
	local n seconds p50 p99 streams
	if [ "$1" != direct ]; then begin "$1"; else at=$origin; fi
	before=0
	for streams in 1 8; do
		[ "$1" = direct ] || before=$(used "$pid")
		"$bin/streams" bulk $streams "127.0.0.1:$at" >"$tmp/out" || fail "$1: bulk"
		read -r n seconds <"$tmp/out"
		record bulk$streams "$1" "$(div "$n" "$seconds" 0 | awk '{ printf "%.2f\n", $1 / 1073741824 }')"
		[ "$1" = direct ] || per bulkcpu$streams "$1" "$(awk -v n="$n" 'BEGIN { print n / 1073741824 * 1000 }')" 0
	done
	for streams in 1 16; do
		[ "$1" = direct ] || before=$(used "$pid")
		"$bin/streams" connect $streams "127.0.0.1:$at" >"$tmp/out" || fail "$1: connect"
		read -r n seconds <"$tmp/out"
		record connect$streams "$1" "$(div "$n" "$seconds" 0)"
		if [ "$1" != direct ] && [ $streams = 16 ]; then per connectcpu "$1" "$n" 1; fi
	done
	[ "$1" = direct ] || before=$(used "$pid")
	# Both ends on one processor and the relay on another, or it is a matter of luck.
	pin "$service" 0
	[ "$1" = direct ] || pin "$pid" 1
	taskset -c 0 "$bin/streams" ping "127.0.0.1:$at" >"$tmp/out" || fail "$1: ping"
	pin "$service" "0-$(($(nproc) - 1))"
	read -r p50 p99 n <"$tmp/out"
	record p50 "$1" "$p50"
	record p99 "$1" "$p99"
	[ "$1" != direct ] || return 0
	per pingcpu "$1" "$n" 1
	end
	# A process for each connection takes long to make.
	case $1:$round in redir:* | socat:[!0]*) return 0 ;; esac
	begin "$1"
	rm -f "$tmp/held"
	"$bin/streams" hold "$IDLE" "127.0.0.1:$at" >"$tmp/held" &
	idle=$!
	until [ -s "$tmp/held" ]; do sleep 0.05; done
	sleep 0.2
	record idle "$1" "$(pss "$pid")"
	kill "$idle"
	wait "$idle" 2>/dev/null || true
	end
}

stream=/usr/lib/nginx/modules/ngx_stream_module.so
programs=(direct sockbox)
for program in haproxy nginx rinetd socat redir; do
	if have "$program" && { [ "$program" != nginx ] || [ -e "$stream" ]; }; then programs+=("$program"); fi
done
for ((round = 0; round < ROUNDS; round++)); do
	for program in "${programs[@]}"; do
		if [ -z "$ONLY" ] || [[ " $ONLY " == *" $program "* ]]; then measure "$program"; fi
	done
done
table bulk1 more GiB/s 'bulk, 1 stream'
table bulkcpu1 less ms 'bulk, 1 stream: processor time for a GiB'
table bulk8 more GiB/s 'bulk, 8 streams'
table bulkcpu8 less ms 'bulk, 8 streams: processor time for a GiB'
table connect1 more /s 'new connections, one after the other'
table connect16 more /s 'new connections, 16 at a time'
table connectcpu less µs 'new connections, 16 at a time: processor time for each'
table p50 less µs 'a round trip of 64 bytes: the median'
table p99 less µs 'a round trip of 64 bytes: the 99th percentile'
table pingcpu less µs 'a round trip of 64 bytes: processor time'
table idle less KiB "memory with $IDLE idle connections (PSS)"
