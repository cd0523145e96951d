#!/usr/bin/env bash
# health.sh: is everything up? It tries what is named in a file, all at the same time, and tells what has
# gone down and what has come back.
#
# usage: health.sh [-1] [-i SECONDS] [-t SECONDS] FILE
#   -1  once, and tell only what is down; the status is 1 when something is
#   -i  look every SECONDS (10)
#   -t  what does not answer within SECONDS is down (2)
#
# FILE has a name and what it needs in each line, as "sockbox wait" takes it:
#
#   shop      shop.example.org:443 db.example.org:5432
#   mailer    buffer:mail file:/run/mailer.ready
#
# example: health.sh services || mail -s 'something is down' root
#
# A line is "TIME NAME up" or "TIME NAME down REASON". INT or TERM ends it.
set -euo pipefail

once='' every=10 limit=2
while getopts 1i:t: option; do
	case $option in
	1) once=yes ;;
	i) every=$OPTARG ;;
	t) limit=$OPTARG ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
if [ $# -ne 1 ]; then
	echo 'usage: health.sh [-1] [-i SECONDS] [-t SECONDS] FILE' >&2
	exit 2
fi

# look prints "NAME up" or "NAME down REASON" for each line of the file.
look() {
	local name targets why
	while read -r name targets; do
		case $name in '' | '#'*) continue ;; esac
		{
			# shellcheck disable=SC2086 # they are words
			if why=$(sockbox wait --timeout "$limit" $targets 2>&1); then
				echo "$name up"
			else
				why=${why%%$'\n'*}
				echo "$name down ${why#sockbox wait: }"
			fi
		} &
	done <"$1"
	wait
}

# A child that is killed before it is sleep would run the trap too.
trap '[ "$BASHPID" != $$ ] || [ -z "${nap:-}" ] || kill "$nap" 2>/dev/null || true' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
declare -A was=()
status=0
while :; do
	while read -r name state why; do
		[ "$state" = up ] || status=1
		# What is up from the beginning is no news.
		if [ "${was[$name]:-up}" != "$state" ]; then
			printf '%(%FT%T)T %s %s\n' -1 "$name" "$state${why:+ $why}"
		fi
		was[$name]=$state
	done < <(look "$1")
	[ -z "$once" ] || exit "$status"
	sleep "$every" &
	nap=$!
	wait "$nap" # a signal ends that at once
done
