#!/usr/bin/env bash
# launch.sh: a program for each connection: how many in a second, and the processor's time of server and
# program for each, one client after the other and sixteen side by side; and 64 KiB through cat.
#
# usage: launch.sh; environment: ROUNDS (5), SECONDS_EACH (1), SOCKEXEC: jprjr's sockexec, where it was built
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${SECONDS_EACH:=1}" "${SOCKEXEC:=}"
true=$(type -P true) cat=$(type -P cat)

# Each starts the server for one program; "$1" is that, "$port" is where, unless it is a socket.
# shellcheck disable=SC2329 # measure calls them by name
{
	exec_server() { "$sockbox" exec -t 0 -m 1000 -q 4096 "$tmp/exec.sock"; }
	sockexec_server() { "$SOCKEXEC" -q 4096 -m 1000 "$tmp/sockexec.sock"; }
	activate_server() { "$sockbox" activate --quiet --mode inetd "tcp://127.0.0.1:$port" -- "$1"; }
	tcpserver_server() { tcpserver -q -H -R -l 0 -c 200 -b 4096 127.0.0.1 "$port" "$1"; }
	socat_server() { socat "TCP-LISTEN:$port,bind=127.0.0.1,fork,reuseaddr,backlog=4096" "EXEC:$1"; }
	systemd_server() { systemd-socket-activate -l "127.0.0.1:$port" -a --inetd "$1" 2>"$tmp/systemd.log"; }
	xinetd_server() {
		cat >"$tmp/xinetd.conf" <<-CONF
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
				port = $port
				bind = 127.0.0.1
				server = $1
				disable = no
			}
		CONF
		xinetd -dontfork -f "$tmp/xinetd.conf" -pidfile "$tmp/xinetd.pid" 2>"$tmp/xinetd.log"
	}
}

# measure PROGRAM KIND: what its server starts in a while.
measure() {
	local what how at server pid name program bytes clients out
	for what in "seq $true 0 1" "par $true 0 16" "catseq $cat 65536 1" "catpar $cat 65536 16"; do
		read -r name program bytes clients <<<"$what"
		[[ $2 != sockexec || $bytes = 0 ]] || continue # the port to newer libraries loses bytes
		port=$(port)
		"$2_server" "$program" &
		server=$!
		how='stream tcp' at=127.0.0.1:$port
		case $2 in
		exec | sockexec)
			how='netstring unix' at=$tmp/$2.sock
			until [ -S "$at" ]; do sleep 0.01; done
			;;
		*) listening "$port" ;;
		esac
		# shellcheck disable=SC2086 # two words
		out=$("$bin/launches" "$server" $how "$at" "$bytes" "$clients" "$SECONDS_EACH" "$program") || fail "$1: $name"
		record "$name" "$1" "${out% *}"
		record "cpu$name" "$1" "${out#* }"
		for pid in $(pgrep -P "$server"); do kill "$pid"; done
		kill "$server" 2>/dev/null || true
		wait "$server" 2>/dev/null || true
		rm -f "$tmp/$2.sock"
	done
}

for ((round = 0; round < ROUNDS; round++)); do
	measure 'sockbox exec' exec
	if "$sockbox" help activate >"$tmp/help" 2>&1; then measure 'sockbox activate' activate; fi
	if have tcpserver; then measure tcpserver tcpserver; fi
	if have xinetd; then measure xinetd xinetd; fi
	if have socat; then measure 'socat EXEC' socat; fi
	if have systemd-socket-activate; then measure 'systemd-socket-activate' systemd; fi
	if [ "$SOCKEXEC" ]; then measure sockexec sockexec; fi
done
table seq more '1/s' 'true, one client after the other'
table cpuseq less µs 'the same: processor time for each'
table par more '1/s' 'true, sixteen clients'
table cpupar less µs 'the same: processor time for each'
table catseq more '1/s' '64 KiB through cat and back, one after the other'
table catpar more '1/s' 'the same, sixteen clients'
