#!/usr/bin/env bash
# fanout.sh: many programs that print, collected in one place: how soon the first line of each of them is
# there, and what processor time it took until then. "the shell alone" starts them and collects nothing.
#
# usage: fanout.sh; environment: ROUNDS (5), COUNT (200) programs
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${COUNT:=200}"

# The runtime directory is on a tmpfs, as $XDG_RUNTIME_DIR is. On ext4 a new file costs the more the more
# have been removed in the last minutes, by anybody: their inodes are passed over for so long.
if [ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ]; then
	SOCKBOX_DIR=$(mktemp -d /dev/shm/sockbox-bench.XXXXXX)
fi

mkdir "$tmp/daemons"
for ((i = 0; i < COUNT; i++)); do
	printf '#!/bin/sh\necho "first line of %s"\nexec sleep 600\n' "$i" >"$tmp/daemons/d$i"
	chmod 755 "$tmp/daemons/d$i"
done
printf 'bench\n' >"$tmp/key"
chmod 600 "$tmp/key"

# Each of these is run in a session of its own, and prints all lines into its stdout.
cat >"$tmp/alone" <<'END'
for d in "$1"/*; do "$d" & done
wait
END
cat >"$tmp/sockbox" <<'END'
"$3" pool --quiet --print --bind 127.0.0.1 @"$4" "$2" &
"$3" master --quiet @"$4" 127.0.0.1 "$2" "$1" &
wait
END
cat >"$tmp/netcat" <<'END'
socat -u "TCP-LISTEN:$2,bind=127.0.0.1,fork,reuseaddr,backlog=4096" - &
until nc -z 127.0.0.1 "$2"; do sleep 0.01; done
for d in "$1"/*; do "$d" | nc 127.0.0.1 "$2" & done
wait
END

# used SESSION: the processor time of all that is in it, in ms (schedstat in proc(5), which counts in ns)
used() {
	local pid
	for pid in $(ps -o pid= -s "$1"); do
		cat "/proc/$pid/task/"*/schedstat 2>/dev/null || true
	done | awk '{ n += $1 } END { printf "%.1f\n", n / 1000000 }'
}

# peak SESSION: the largest memory of one process in it that is sockbox, in KiB
peak() {
	local pid
	for pid in $(ps -o pid= -s "$1"); do
		[ "$(readlink "/proc/$pid/exe" 2>/dev/null)" = "$(readlink -f "$sockbox")" ] || continue
		sed -n 's/^VmHWM:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$pid/status"
	done | sort -n | tail -n 1
}

# fan PROGRAM SCRIPT
fan() {
	local began session
	: >"$tmp/lines"
	now
	began=$now
	setsid bash "$tmp/$2" "$tmp/daemons" "$(port)" "$sockbox" "$tmp/key" >"$tmp/lines" 2>"$tmp/err" &
	session=$!
	until [ "$(grep -c 'first line' "$tmp/lines")" -ge "$COUNT" ]; do
		now
		[ $((now - began)) -lt 30000000 ] || fail "$1: after 30 s there are $(wc -l <"$tmp/lines") lines: $(tail -n 1 "$tmp/err")"
		sleep 0.005
	done
	now
	record first "$1" "$(div $((now - began)) 1000 1)"
	record cpu "$1" "$(used $session)"
	if [ "$2" = sockbox ]; then record memory "$1" "$(peak $session)"; fi
	# shellcheck disable=SC2046 # they are numbers
	kill -TERM -- $(ps -o pid= -s $session) 2>"$tmp/err" || true
	wait $session 2>"$tmp/err" || true
	until [ -z "$(ps -o pid= -s $session)" ]; do sleep 0.05; done
	# master's daemons are in sessions of the same master, which has ended them
}

for ((round = 0; round < ROUNDS; round++)); do
	fan 'sockbox master to pool' sockbox
	fan 'the shell alone' alone
	if have socat && have nc; then fan 'nc to socat' netcat; fi
done
table first less ms "$COUNT programs: until the first line of each is there"
table cpu less ms "$COUNT programs: processor time until then"
table memory less KiB 'the largest process of sockbox, at its peak'
