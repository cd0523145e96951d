#!/usr/bin/env bash
# www.sh: files and CGI scripts over HTTP, against nginx, lighttpd, busybox httpd, caddy, darkhttpd and
# Python's server: requests a second, and what each costs the server in CPU.
#
# usage: www.sh; environment: ROUNDS (5), SECONDS_EACH (1) of load, ONLY, the names of programs to run
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${SECONDS_EACH:=1}" "${ONLY:=}"
have wrk || fail 'wrk is not installed'

site=$tmp/site
mkdir -p "$site/cgi-bin"
head -c 1024 /dev/urandom | base64 -w0 | head -c 1024 >"$site/1k.txt"
head -c 102400 /dev/urandom >"$site/100k.bin"
head -c 10485760 /dev/urandom >"$site/10m.bin"
printf '#!/bin/sh\necho Content-Type: text/plain\necho\necho hello\n' >"$site/cgi-bin/sh.cgi"
chmod 755 "$site/cgi-bin/sh.cgi"
chmod 755 "$tmp" "$site"

# shellcheck disable=SC2329 # they are called by name
{
	www_sockbox() { exec "$sockbox" www --listen "127.0.0.1:$port" --cgi /cgi-bin/ "$site"; }
	www_nginx() {
		mkdir -p "$tmp/nginx"
		cat >"$tmp/nginx/conf" <<-END
			daemon off; worker_processes 2; pid $tmp/nginx/pid; error_log $tmp/nginx/err crit; $([ "$(id -u)" != 0 ] || echo 'user root;')
			events { worker_connections 4096; }
			http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; default_type text/plain;
			client_body_temp_path $tmp/nginx/b; proxy_temp_path $tmp/nginx/p; fastcgi_temp_path $tmp/nginx/f;
			uwsgi_temp_path $tmp/nginx/u; scgi_temp_path $tmp/nginx/s;
			server { listen 127.0.0.1:$port reuseport; root $site; } }
		END
		exec nginx -e "$tmp/nginx/err" -p "$tmp/nginx" -c "$tmp/nginx/conf"
	}
	www_lighttpd() {
		cat >"$tmp/lighttpd.conf" <<-END
			server.modules = ("mod_cgi")
			server.document-root = "$site"
			server.bind = "127.0.0.1"
			server.port = $port
			server.max-keep-alive-requests = 1000000
			cgi.assign = ( ".cgi" => "" )
		END
		exec lighttpd -D -f "$tmp/lighttpd.conf"
	}
	www_busybox() { exec busybox httpd -f -p "127.0.0.1:$port" -h "$site"; }
	www_caddy() { HOME=$tmp XDG_DATA_HOME=$tmp XDG_CONFIG_HOME=$tmp exec caddy file-server --root "$site" --listen "127.0.0.1:$port"; }
	www_darkhttpd() { exec darkhttpd "$site" --port "$port" --addr 127.0.0.1 --maxconn 4096; }
	www_python3() { exec python3 -m http.server --bind 127.0.0.1 -d "$site" "$port"; }
}

# cpu PID: microseconds of CPU that it, its children and those of them that have ended have used.
cpu() {
	local pid=$1 all=0 child children stat
	read -r stat <"/proc/$pid/stat" || stat=
	# shellcheck disable=SC2086 # into words: utime, stime and those of children are 12 to 15 behind the name
	set -- ${stat##*) }
	all=$(((${12:-0} + ${13:-0} + ${14:-0} + ${15:-0}) * 10000))
	read -ra children < <(cat "/proc/$pid/task"/*/children 2>/dev/null | tr '\n' ' ') || true
	for child in "${children[@]}"; do all=$((all + $(cpu "$child"))); done
	echo "$all"
}

# load ROW PROGRAM PATH CONNECTIONS [FIELD]
load() {
	local before after out n
	before=$(cpu "$pid")
	out=$(wrk -t2 -c"$4" -d"${SECONDS_EACH}s" ${5:+-H "$5"} "http://127.0.0.1:$port/$3" 2>&1) || fail "$2: $out"
	after=$(cpu "$pid")
	n=$(awk '/requests in/ { print $1 }' <<<"$out")
	if ! [ "${n:-0}" -gt 0 ] || [[ $out == *Non-2xx* ]]; then
		echo "$2: $3: $(grep -E 'Non-2xx|Socket' <<<"$out")" >&2
		return
	fi
	record "$1" "$2" "$(awk '/Requests\/sec/ { print $2 }' <<<"$out")"
	record "$1-cpu" "$2" "$(div $((after - before)) "$n" 2)"
}

for ((round = 0; round < ROUNDS; round++)); do
	for program in sockbox nginx lighttpd busybox caddy darkhttpd python3; do
		if [ "$program" != sockbox ] && ! have "$program" || [ -n "$ONLY" ] && [[ " $ONLY " != *" $program "* ]]; then continue; fi
		port=$(port)
		"www_$program" >"$tmp/server.log" 2>&1 &
		pid=$!
		listening "$port"
		load small "$program" 1k.txt 32
		load close "$program" 1k.txt 32 'Connection: close'
		load medium "$program" 100k.bin 32
		load large "$program" 10m.bin 32
		case $program in
		sockbox | lighttpd | busybox) load cgi "$program" cgi-bin/sh.cgi 8 'Connection: close' ;;
		esac
		kill "$pid"
		wait "$pid" || true
	done
done
rows() { # rows ROW TITLE
	table "$1" more 'requests/s' "$2"
	table "$1-cpu" less 'µs' "$2: CPU of the server for each"
}
rows small '1 KiB, 32 connections that are kept'
rows close '1 KiB, a connection for each'
rows medium '100 KiB'
rows large '10 MiB'
rows cgi 'CGI, a shell script, a connection for each'
