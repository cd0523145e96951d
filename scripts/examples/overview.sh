#!/usr/bin/env bash
# overview.sh: the load of several hosts, a log of each, and a counter, on one screen.
#
# usage: overview.sh show KEYFILE PORT             on the host with the screen
#        overview.sh send KEYFILE HOST PORT LOG    on each of the others
#
# example, on all of them the same file:   head -c 18 /dev/urandom | base64 >key; chmod 600 key
#          where the screen is:            overview.sh show key 9999
#          on each of the others:          overview.sh send key screen 9999 /var/log/syslog
#
# What comes is shown as "vmstat@web1: ...", the first host's without its name; to have one of them alone,
# leave out --print below and say: sockbox read --follow log@web1. When a link breaks, lines wait until it
# is back. INT or TERM ends either side, and everything that it runs.
set -euo pipefail

usage() {
	sed -n 's/^# usage: \(.*\)/usage: \1/p; s/^#        \(overview.*\)/       \1/p' "$0" >&2
	exit 2
}

case ${1:-} in
show)
	[ $# -eq 3 ] || usage
	exec sockbox pool --keep --print "@$2" "$3"
	;;
send)
	[ $# -eq 5 ] || usage
	;;
*) usage ;;
esac
key=$2 host=$3 port=$4
log=$(realpath "$5")

# Each of these is one program, that prints a line when it has something to say.
dir=$(mktemp -d)
trap '[ "$BASHPID" != $$ ] || rm -rf "$dir"' EXIT
cat >"$dir/vmstat" <<END
#!/bin/sh
exec vmstat -n 5
END
cat >"$dir/log" <<END
#!/bin/sh
exec tail -n 0 -F '${log//\'/\'\\\'\'}'
END
cat >"$dir/connections" <<'END'
#!/bin/sh
while true; do
	grep -c ' 01 ' /proc/net/tcp # established (proc(5))
	sleep 5
done
END
chmod 700 "$dir"/*

sockbox master --pty --restart on-failure --host "$(uname -n)" "@$key" "$host" "$port" "$dir" &
master=$!
trap 'kill $master; wait $master' INT TERM
wait "$master"
