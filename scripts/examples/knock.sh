#!/usr/bin/env bash
# knock.sh: a door that hears a secret knock. Who sends something to the ports in the right order, each
# within ten seconds after the one before, has a command run with his address.
#
# usage: knock.sh [-v] guard 'PORT PORT...' COMMAND [ARG...]
#        knock.sh HOST PORT...
#   -v  tell of each knock
#
# example, on a server:   knock.sh guard '7001 9004 8002' ./let-in      # ./let-in 192.0.2.7
#          from outside:  knock.sh server 7001 9004 8002
#
# The knocks are datagrams: nothing answers, a scan finds no open port. That hides a door and is not its
# lock: who can listen on the way learns the order, and can forge an address; "sockbox trigger-wait" is
# a lock. BIND=ADDR in the environment has it hear on that address only. INT or TERM ends it.
set -euo pipefail

verbose=
if [ "${1:-}" = -v ]; then
	verbose=yes
	shift
fi
if [ $# -lt 2 ] || [ "$1" = guard ] && [ $# -lt 3 ]; then
	echo "usage: knock.sh [-v] guard 'PORT PORT...' COMMAND [ARG...] | knock.sh HOST PORT..." >&2
	exit 2
fi

if [ "$1" != guard ]; then
	host=$1
	shift
	for port in "$@"; do
		sockbox bind-output knock-$$ "udp://$host:$port" >/dev/null
		sockbox write knock-$$ knock
		sockbox close knock-$$
		[ "$port" = "${!#}" ] || sleep 0.5 # the ports are heard by different processes
	done
	exit
fi

read -ra ports <<<"$2"
shift 2
buffers=()
# shellcheck disable=SC2317,SC2329 # the trap calls it
leave() {
	[ "$BASHPID" = $$ ] || return
	[ ${#buffers[@]} -eq 0 ] || sockbox close --quiet --now "${buffers[@]}" || true
	wait
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
for i in "${!ports[@]}"; do
	sockbox bind-input --overflow drop-oldest "knock-$$-$i" "udp://${BIND:-}:${ports[i]}" >/dev/null
	buffers+=("knock-$$-$i")
done

# hear prints "I ADDRESS" for each knock at the port I.
hear() {
	local i
	for i in "${!ports[@]}"; do
		sockbox read --follow --json "${buffers[i]}" |
			sed -u -n "s/.*\"peer\":\"\[\{0,1\}\([^]\"]*\)]\{0,1\}:[0-9]*\",.*/$i \1/p" &
	done
	wait
}

declare -A next=() since=()
while read -r i who; do
	[ -z "$verbose" ] || echo "knock.sh: $who at ${ports[i]}" >&2
	# Addresses can be forged by the million.
	[ ${#next[@]} -lt 10000 ] || next=() since=()
	want=${next[$who]:-0}
	# Who was too slow, or wrong, begins anew, maybe with this very knock.
	if [ "$i" -ne "$want" ] || { [ "$want" -gt 0 ] && [ $((SECONDS - ${since[$who]})) -gt 10 ]; }; then
		want=0
	fi
	if [ "$i" -ne "$want" ]; then
		unset "next[$who]" "since[$who]"
	elif [ $((i + 1)) -lt ${#ports[@]} ]; then
		next[$who]=$((i + 1)) since[$who]=$SECONDS
	else
		unset "next[$who]" "since[$who]"
		"$@" "$who" </dev/null || echo "knock.sh: status $?: $who" >&2
	fi
done < <(hear)
