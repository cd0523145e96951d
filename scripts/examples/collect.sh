#!/usr/bin/env bash
# collect.sh: a log collector. Each line that comes begins with the name of a host, as shiplog.sh sends
# it; it is added to the file of that host and day.
#
# usage: collect.sh ENDPOINT DIR
#
# example, where the logs come together:   collect.sh 9999 /srv/logs
#          on each of the others:          shiplog.sh /var/log/syslog loghost 9999
#
# So /srv/logs/web1-2026-01-31.log grows. Lines from one host stay in their order, and are never mixed
# with others'. INT or TERM ends it.
set -euo pipefail

if [ $# -ne 2 ] || [ ! -d "$2" ]; then
	echo 'usage: collect.sh ENDPOINT DIR' >&2
	exit 2
fi
endpoint=$1 dir=$2
buffer=collect-$$

sockbox bind-input "$buffer" "$endpoint" >/dev/null
# It is not left alone where a file cannot be written. A child that is killed early would run the trap too.
trap '[ "$BASHPID" != $$ ] || sockbox close --quiet "$buffer" || true' EXIT
# Without the buffer the loop ends. A foreground "sockbox read --wait" would keep the trap waiting.
trap 'sockbox close "$buffer" || true' INT TERM HUP
while IFS=' ' read -r host line; do
	# A name is part of a path, and comes from whoever can connect.
	case $host in
	'' | .* | *[!A-Za-z0-9._-]*) host=unknown ;;
	esac
	printf -v day '%(%F)T' -1
	printf '%s\n' "$line" >>"$dir/$host-$day.log"
done < <(sockbox read --follow "$buffer")
