#!/usr/bin/env bash
# datagrams.sh: a relay of UDP, against nginx (stream), socat and no relay at all.
#
# usage: datagrams.sh; environment: ROUNDS (5), COUNT (20000) datagrams in each
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${COUNT:=20000}"

mkfifo "$tmp/hold"
"$bin/datagrams" echo <"$tmp/hold" >"$tmp/port" &
exec 9>"$tmp/hold"
until [ -s "$tmp/port" ]; do sleep 0.01; done
echo=$(<"$tmp/port")

# cpu PID: the CPU that it and its children have had, in nanoseconds.
cpu() {
	local pid=$1 pids
	pids=$(pgrep -P "$pid" || true)
	# shellcheck disable=SC2086
	for pid in "$pid" $pids; do cat /proc/"$pid"/task/*/schedstat 2>/dev/null || true; done | awk '{ n += $1 } END { printf "%.0f\n", n }'
}

# shellcheck disable=SC2329 # measure calls them by name
{
	relay_sockbox() { exec "$sockbox" relay "udp://127.0.0.1:$port" "udp://127.0.0.1:$echo"; }
	relay_socat() { exec socat -T 60 "UDP4-LISTEN:$port,bind=127.0.0.1,fork,reuseaddr" "UDP4:127.0.0.1:$echo"; }
	relay_nginx() {
		mkdir -p "$tmp/nginx/logs"
		local module=/usr/lib/nginx/modules/ngx_stream_module.so # where it is not built in
		if [ -e "$module" ]; then echo "load_module $module;"; fi >"$tmp/nginx/conf"
		cat >>"$tmp/nginx/conf" <<-END
			daemon off; master_process off; pid $tmp/nginx/pid; error_log stderr crit;
			events { worker_connections 1024; }
			stream { server { listen 127.0.0.1:$port udp; proxy_pass 127.0.0.1:$echo; proxy_timeout 60s; } }
		END
		exec nginx -p "$tmp/nginx" -c "$tmp/nginx/conf"
	}
}

# answers PORT: wait until a datagram comes back.
answers() {
	local i
	for ((i = 0; i < 500; i++)); do
		"$bin/datagrams" rtt "$1" 1 1 >/dev/null 2>&1 && return
		sleep 0.02
	done
	fail "nothing comes back from port $1"
}

# figures PROGRAM PORT PID: what is measured of one.
figures() {
	local before back seconds
	record rtt "$1" "$("$bin/datagrams" rtt "$2" "$COUNT" 64)"
	for size in 64 1400; do
		for clients in 1 8; do
			before=$(cpu "$3")
			read -r back seconds < <("$bin/datagrams" run "$2" "$((COUNT * 5 / clients))" "$size" "$clients" "$((32 / clients))")
			record "rate$size-$clients" "$1" "$(div "$back" "$seconds" 0)"
			# A datagram passes twice, once in each direction.
			[ "$3" = $$ ] || record "cpu$size-$clients" "$1" "$(div "$(($(cpu "$3") - before))" "$((back * 2000))" 2)"
		done
	done
}

# measure PROGRAM KIND
measure() {
	local pid
	port=$(port)
	"relay_$2" &
	pid=$!
	answers "$port"
	figures "$1" "$port" "$pid"
	# What socat forks does not end with it.
	# shellcheck disable=SC2046
	kill "$pid" $(pgrep -P "$pid")
	wait "$pid" || true
}

for ((round = 0; round < ROUNDS; round++)); do
	measure sockbox sockbox
	if have nginx; then measure nginx nginx; fi
	if have socat; then measure socat socat; fi
	figures 'no relay' "$echo" $$
done
table rtt less µs 'round trip of 64 bytes, median'
for size in 64 1400; do
	for clients in 1 8; do
		table "rate$size-$clients" more datagrams/s "$size bytes there and back, $clients clients, 32 on their way"
		table "cpu$size-$clients" less µs "CPU of the relay for a datagram: $size bytes, $clients clients"
	done
done
exec 9>&-
