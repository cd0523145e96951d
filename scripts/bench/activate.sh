#!/usr/bin/env bash
# activate.sh: a program for each connection: starts a second and CPU time per start of true, and
# conversations a second in which cat sends 64 KiB back; one client, and 16 side by side. Against
# tcpserver, xinetd, socat and systemd-socket-activate.
#
# usage: activate.sh; environment: ROUNDS (5), SECONDS_EACH (1)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${SECONDS_EACH:=1}"

# shellcheck disable=SC2329 # serve calls them by name
{
	serve_sockbox() { exec "$sockbox" activate --mode inetd "127.0.0.1:$1" -- "$2"; }
	serve_tcpserver() { exec tcpserver -q -H -R -l 0 -c 200 -b 4096 127.0.0.1 "$1" "$2"; }
	serve_xinetd() {
		cat >"$tmp/xinetd.conf" <<-C
			defaults
			{
				instances = 500
				cps = 1000000 1
				per_source = UNLIMITED
			}
			service bench
			{
				type = UNLISTED
				socket_type = stream
				protocol = tcp
				wait = no
				user = $(id -un)
				port = $1
				bind = 127.0.0.1
				server = $2
				disable = no
			}
		C
		exec xinetd -dontfork -f "$tmp/xinetd.conf" -pidfile "$tmp/xinetd.pid"
	}
	serve_socat() { exec socat "TCP-LISTEN:$1,bind=127.0.0.1,fork,reuseaddr,backlog=4096" "EXEC:$2"; }
	serve_systemd-socket-activate() { exec systemd-socket-activate -l "127.0.0.1:$1" -a --inetd "$2"; }
}

# spent PID: the CPU time of the process, of those below it, and of those of theirs that have ended, in ms.
spent() {
	local pids=("$1") i=0 children
	while [ $i -lt ${#pids[@]} ]; do
		children=$(cat "/proc/${pids[i]}/task/"*/children 2>/dev/null) || true
		# shellcheck disable=SC2206 # they are numbers
		pids+=($children)
		i=$((i + 1))
	done
	for i in "${pids[@]}"; do sed 's/.*) //' "/proc/$i/stat" 2>/dev/null || true; done |
		awk -v tick="$(getconf CLK_TCK)" '{ s += $12 + $13 + $14 + $15 } END { print s * 1000 / tick }'
}

# measure NAME PROGRAM SIZE CLIENTS FILE
measure() {
	local port pid before after good bad program
	port=$(port)
	program=$(type -P "$2")
	"serve_$1" "$port" "$program" >"$tmp/server" 2>&1 &
	pid=$!
	listening "$port"
	before=$(spent "$pid")
	read -r good bad < <("$bin/knock" "$port" "$3" "$4" "$SECONDS_EACH")
	after=$(spent "$pid")
	kill "$pid"
	wait "$pid" 2>/dev/null || true
	if [ $((bad * 50)) -gt "$good" ]; then
		echo "$1: $2: $bad of $((good + bad)) went wrong: left out"
		return
	fi
	record "$5" "$1" "$(div "$good" "$SECONDS_EACH" 0)"
	record "$5-cpu" "$1" "$(awk -v a="$before" -v b="$after" -v n="$good" 'BEGIN { print (b - a) * 1000 / n }')"
}

programs=(sockbox)
for program in tcpserver xinetd socat systemd-socket-activate; do
	if have "$program"; then programs+=("$program"); fi
done
for ((round = 0; round < ROUNDS; round++)); do
	for program in "${programs[@]}"; do
		measure "$program" true 0 1 true1
		measure "$program" true 0 16 true16
		measure "$program" cat 65536 1 cat1
		measure "$program" cat 65536 16 cat16
	done
done
table true1 more /s 'true, one after the other: starts'
table true1-cpu less µs 'true, one after the other: CPU time per start'
table true16 more /s 'true, 16 side by side: starts'
table true16-cpu less µs 'true, 16 side by side: CPU time per start'
table cat1 more /s '64 KiB through cat, one after the other'
table cat1-cpu less µs '64 KiB through cat, one after the other: CPU time each'
table cat16 more /s '64 KiB through cat, 16 side by side'
table cat16-cpu less µs '64 KiB through cat, 16 side by side: CPU time each'
