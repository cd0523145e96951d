#!/usr/bin/env bash
# demo.sh: a live session. Each command is shown as one would type it, and then run; the sockets
# are real, on loopback and on free ports.
#
# usage: demo.sh
#
# It needs bash and sockbox, in PATH or in the folder above. Its buffers are in a runtime directory
# of its own, which is gone at the end, also after Ctrl-C.
# shellcheck disable=SC2016 # the commands are shown before the shell reads them
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
command -v sockbox >/dev/null || PATH=${here%/*}:$PATH
command -v sockbox >/dev/null || { echo 'demo.sh: there is no sockbox; build it with: make' >&2; exit 127; }

SOCKBOX_DIR=$(mktemp -d "${TMPDIR:-/tmp}/sockbox-demo.XXXXXX")
export SOCKBOX_DIR

# shellcheck disable=SC2317,SC2329 # the trap calls it
clean() {
	local status=$?
	[ "$BASHPID" = $$ ] || exit "$status" # a child that was killed before it was its program
	trap '' INT TERM HUP
	trap - EXIT
	sockbox close --quiet --now --all || true
	[ -z "${follower:-}" ] || kill "$follower" 2>/dev/null || true
	wait
	rm -rf "$SOCKBOX_DIR"
	[ "$status" -eq 0 ] || echo "demo.sh: status $status" >&2
	exit "$status"
}
trap clean EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n# %s\n' "$@"; }

# run shows a command line and runs it here: what it sets stays set.
run() {
	printf '$ %s\n' "$1"
	eval "$1"
}

# want ends the session when the variable $1 does not hold $2.
want() {
	[ "${!1}" = "$2" ] || { printf 'demo.sh: %s is %q, not %q\n' "$1" "${!1}" "$2" >&2; exit 1; }
}

say 'An input listens, and keeps what comes. Port 0 takes a free one and prints PID and port.'
run 'ready=$(sockbox bind-input --bind 127.0.0.1 --print-port mail 0)'
run 'port=${ready#* }; echo "$port"'

say 'An output connects. Both are in the background now; each printed its PID.'
run 'sockbox bind-output post 127.0.0.1 "$port"'

say 'What is written to the one can be read from the other.'
run "sockbox write post 'hello, network'"
run 'message=$(sockbox read --timeout 5 mail); echo "$message"'
want message 'hello, network'

say 'Nothing waits any more, and that is not an error: no output, status 1.'
run 'status=0; sockbox read mail || status=$?; echo "$status"'
want status 1

say 'Plain programs are peers too: here bash itself, by its /dev/tcp.'
run 'echo "no sockbox here" >/dev/tcp/127.0.0.1/"$port"'
run 'message=$(sockbox read --timeout 5 mail); echo "$message"'
want message 'no sockbox here'

say 'An output can listen as well, and an input dial.'
run 'ready=$(sockbox bind-output --listen --bind 127.0.0.1 --print-port news 0)'
run 'sockbox bind-input --connect feed 127.0.0.1 "${ready#* }"'

say 'read --follow prints everything as it comes. In the background, it sees these three arrive.'
run 'sockbox read --follow --count 3 feed & follower=$!'
run "printf '%s\n' one two three | sockbox write news"
run 'wait "$follower"; follower='

say 'What there is, and how it is.'
run 'sockbox list'

say 'close ends the daemons, and waits until they are gone.'
run 'sockbox close post mail news feed'
run 'names=$(sockbox list --quiet); echo "left: ${names:-nothing}"'
want names ''
