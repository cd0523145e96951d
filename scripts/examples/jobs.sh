#!/usr/bin/env bash
# jobs.sh: a job queue. Each line that comes in is a job; WORKERS of them run at a time, as
# COMMAND ARG... LINE.
#
# usage: jobs.sh ENDPOINT WORKERS COMMAND [ARG...]
#
# example, on the machine that works:   jobs.sh 9999 4 gzip -9
#          on any that has work:        ls /srv/log/*.1 | nc -N worker 9999
#
# Who may connect may have COMMAND run: a line is one argument to it, never shell code. TERM ends the
# script when the jobs that run are done; those that nobody took are written to jobs.left.
set -euo pipefail

if [ $# -lt 3 ]; then
	echo 'usage: jobs.sh ENDPOINT WORKERS COMMAND [ARG...]' >&2
	exit 2
fi
endpoint=$1 workers=$2
shift 2
buffer=jobs-$$

# A worker ends when the buffer does. Which of the workers gets a job is not its concern.
work() {
	local job status
	while job=$(sockbox read --wait "$buffer"); do
		status=0
		"$@" "$job" </dev/null || status=$?
		[ "$status" -eq 0 ] || echo "jobs.sh: status $status: $job" >&2
	done
}

# shellcheck disable=SC2317,SC2329 # the trap calls it
stop() {
	trap '' INT TERM HUP
	sockbox read --all "$buffer" >>jobs.left || true
	[ -s jobs.left ] || rm -f jobs.left
	sockbox close "$buffer" || true
}

sockbox bind-input "$buffer" "$endpoint" >/dev/null
trap stop INT TERM HUP
for ((i = 0; i < workers; i++)); do
	work "$@" &
done
wait || true # a signal ends the first one
wait
