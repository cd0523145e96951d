#!/usr/bin/env bash
# cgi.sh: requests for programs by CGI and for PHP by FastCGI, a connection each, against lighttpd,
# busybox httpd, nginx with fcgiwrap, and nginx with the same php-fpm; asked by wrk. The CPU is that of the
# server and of what it starts for a request; the kernel does not tell it of a busybox httpd or a fcgiwrap,
# which do not wait for their children.
#
# usage: cgi.sh; environment: ROUNDS (5), SECONDS_EACH (2), CLIENTS (8)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${SECONDS_EACH:=2}" "${CLIENTS:=8}"
command -v wrk >/dev/null || { echo 'wrk is not installed: nothing asks'; exit 0; }

site=$tmp/site
mkdir -p "$site/cgi-bin"
cat >"$site/cgi-bin/sh.cgi" <<'E'
#!/bin/sh
echo 'Content-Type: text/plain'
echo
echo 'hello from cgi'
E
chmod 755 "$site/cgi-bin/sh.cgi"
printf '%s\n' '<?php echo "hello from php";' >"$site/hello.php"
programs=(sh)
if command -v cc >/dev/null && cc -O2 -static -o "$site/cgi-bin/c.cgi" -x c - 2>/dev/null <<'E'; then
#include <unistd.h>
int main(void)
{
	static const char answer[] = "Content-Type: text/plain\r\n\r\nhello from cgi\n";
	return write(1, answer, sizeof answer - 1) < 0;
}
E
	programs+=(c)
else
	echo 'no cc for a static program: its rows are left out'
fi
clk=$(getconf CLK_TCK)

# cpu PID…: microseconds that these and all below them have used, and those whom they have waited for.
cpu() {
	local pid all=("$@") sum=0 i
	for ((i = 0; i < ${#all[@]}; i++)); do
		for pid in $(pgrep -P "${all[i]}"); do all+=("$pid"); done
		# the name, in parentheses, may have spaces
		read -r _ _ _ _ _ _ _ _ _ _ _ u s cu cs _ < <(sed 's/.*) //' "/proc/${all[i]}/stat" 2>/dev/null) || continue
		sum=$((sum + (u + s + cu + cs) * 1000000 / clk))
	done
	echo "$sum"
}

# ask PROGRAM PATH ROW: requests a second, and CPU each, of the servers in pids.
ask() {
	local before out requests
	curl -sf -o "$tmp/said" "http://127.0.0.1:$port$2" || fail "$1 does not answer $2"
	grep -q '^hello from' "$tmp/said" || fail "$1: $2 says $(head -n 1 "$tmp/said")"
	before=$(cpu "${pids[@]}")
	out=$(wrk -t 2 -c "$CLIENTS" -d "${SECONDS_EACH}s" -H 'Connection: close' "http://127.0.0.1:$port$2")
	requests=$(awk '/requests in/ { print $1 }' <<<"$out")
	[[ $out != *Non-2xx* ]] || fail "$1: $(grep Non-2xx <<<"$out")"
	record "$3" "$1" "$(awk '/^Requests\/sec/ { print $2 }' <<<"$out")"
	[[ $1 = busybox || $1 = *fcgiwrap ]] || record "$3-cpu" "$1" "$(div $(($(cpu "${pids[@]}") - before)) "$requests" 0)"
}

run() { # COMMAND…: a server, in the background
	"$@" >"$tmp/out" 2>&1 &
	pids+=($!)
}

end() {
	kill "${pids[@]}"
	wait "${pids[@]}" || true
	pids=()
}

nginx_conf() { # what a location does
	cat >"$tmp/nginx.conf" <<E
daemon off; worker_processes 2; pid $tmp/nginx.pid; error_log $tmp/nginx.err crit; $([ "$(id -u)" -ne 0 ] || echo "user $(id -un);")
events { worker_connections 1024; }
http { access_log off; client_body_temp_path $tmp/n1; proxy_temp_path $tmp/n2; fastcgi_temp_path $tmp/n3; uwsgi_temp_path $tmp/n4; scgi_temp_path $tmp/n5;
server { listen 127.0.0.1:$port; root $site; location / { include /etc/nginx/fastcgi_params; fastcgi_param SCRIPT_FILENAME \$document_root\$fastcgi_script_name; $1 } } }
E
	run nginx -p "$tmp" -c "$tmp/nginx.conf" -e "$tmp/nginx.err"
}

pids=()
for ((round = 0; round < ROUNDS; round++)); do
	for server in sockbox lighttpd busybox nginx; do
		port=$(port)
		case $server in
			sockbox) run "$sockbox" www --listen "127.0.0.1:$port" --cgi /cgi-bin/ "$site" ;;
			lighttpd)
				have lighttpd || continue
				cat >"$tmp/lighttpd.conf" <<E
server.modules = ("mod_cgi")
server.document-root = "$site"
server.bind = "127.0.0.1"
server.port = $port
cgi.assign = (".cgi" => "")
E
				run lighttpd -D -f "$tmp/lighttpd.conf"
				;;
			busybox)
				have busybox || continue
				run busybox httpd -f -p "127.0.0.1:$port" -h "$site"
				;;
			nginx)
				{ have nginx && have fcgiwrap; } || continue
				run fcgiwrap -c "$CLIENTS" -s "unix:$tmp/wrap.sock"
				nginx_conf "fastcgi_pass unix:$tmp/wrap.sock;"
				;;
		esac
		listening "$port"
		for program in "${programs[@]}"; do ask "${server/nginx/nginx + fcgiwrap}" "/cgi-bin/$program.cgi" "$program"; done
		end
		rm -f "$tmp/wrap.sock"
	done

	fpm=$(compgen -c php-fpm | sort -V | tail -n 1 || true)
	if [ -n "$fpm" ]; then
		printf '%s\n' '[global]' "error_log = $tmp/fpm.log" '[www]' "listen = $tmp/fpm.sock" "user = $(id -un)" "group = $(id -gn)" \
			'listen.mode = 0666' 'pm = static' 'pm.max_children = 4' >"$tmp/fpm.conf"
		for server in sockbox nginx; do
			[ $server = sockbox ] || have nginx || continue
			port=$(port)
			run "$fpm" -F -R -n -y "$tmp/fpm.conf"
			until [ -S "$tmp/fpm.sock" ]; do sleep 0.01; done
			if [ $server = sockbox ]; then
				run "$sockbox" www --listen "127.0.0.1:$port" --php "unix:$tmp/fpm.sock" "$site"
			else
				nginx_conf "fastcgi_pass unix:$tmp/fpm.sock;"
			fi
			listening "$port"
			ask $server /hello.php php
			end
			rm -f "$tmp/fpm.sock"
		done
	else
		[ "$round" -gt 0 ] || echo 'php-fpm is not installed: left out'
	fi
done
for program in "${programs[@]}"; do
	what='a shell script'
	[ "$program" = sh ] || what='a static C program'
	table "$program" more requests/s "CGI: $what, $CLIENTS clients, a connection each"
	table "$program-cpu" less 'µs of CPU' "CGI: $what: the server and the program"
done
if [ -e "$tmp/php" ]; then
	table php more requests/s "PHP by php-fpm, $CLIENTS clients, a connection each"
	table php-cpu less 'µs of CPU' 'PHP by php-fpm: the server and PHP'
fi
