#!/usr/bin/env bash
# ask.sh: questions and answers between machines. The server knows a few questions; it sends its
# answer to the machine that asked, at the port that came with the question.
#
# usage: ask.sh serve ENDPOINT
#        ask.sh [-b ADDR] HOST PORT QUESTION
#   -b  wait for the answer on ADDR only, not on every address
#
# example, on the one machine:   ask.sh serve 9999
#          on another:           ask.sh server 9999 load
#
# Add questions to answer() below: they are words, never shell code. INT or TERM ends the server. The
# client's status is 124 when no answer came within five seconds.
set -euo pipefail

buffer=ask-$$

answer() {
	case $1 in
	date) date -u +%FT%TZ ;;
	load) cut -d ' ' -f 1-3 /proc/loadavg ;;
	name) echo "${HOSTNAME%%.*}" ;;
	*) echo "no such question: $1" ;;
	esac
}

# reply HOST PORT QUESTION
reply() {
	local to=answer-$BASHPID
	sockbox bind-output --connect-timeout 2 "$to" "$1" "$2" >/dev/null || return
	answer "$3" | sockbox write "$to"
	sockbox close "$to"
}

serve() {
	local line question='"peer":"\[?([^"]*[^]"])]?:[0-9]+","message":"([0-9]+) ([a-z]+)"'
	sockbox bind-input "$buffer" "$1" >/dev/null
	# Without the buffer the loop ends. A foreground "sockbox read --wait" would keep the trap waiting.
	trap 'sockbox close "$buffer" || true' INT TERM HUP
	while IFS= read -r line; do
		[[ $line =~ $question ]] || continue
		reply "${BASH_REMATCH[@]:1:3}" &
	done < <(sockbox read --follow --json "$buffer")
	wait
}

# ask HOST PORT QUESTION
ask() {
	local ready
	trap 'sockbox close --quiet --now "$buffer" || true' EXIT
	ready=$(sockbox bind-input --once --print-port ${bind:+--bind "$bind"} "$buffer" 0)
	sockbox bind-output "$buffer.out" "$1" "$2" >/dev/null
	sockbox write "$buffer.out" "${ready#* } $3"
	sockbox close "$buffer.out"
	sockbox read --follow --timeout 5 "$buffer"
}

bind=
if [ "${1:-}" = -b ] && [ $# -gt 2 ]; then
	bind=$2
	shift 2
fi
case ${1:-}:$# in
serve:2) serve "$2" ;;
*:3) ask "$@" ;;
*)
	echo 'usage: ask.sh serve ENDPOINT | ask.sh [-b ADDR] HOST PORT QUESTION' >&2
	exit 2
	;;
esac
