#!/usr/bin/env bash
# stream.sh: lines of 64 bytes from one process to another over TCP: write | bind-output | bind-input
# | read --follow, against netcat and socat. Every byte is checked.
#
# usage: stream.sh; environment: ROUNDS (5), SIZE (1073741824) bytes
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${SIZE:=$((1 << 30))}"

# make writes the stream, and says in the file sent what it was.
make() { "$bin/lines" make "$SIZE" 2>"$tmp/sent"; }
check() { "$bin/lines" check >"$tmp/received"; }

# Each of these starts a receiver, and calls begin before the first byte.
begin() {
	now
	began=$now
}

stream_sockbox() {
	local receiver ready
	ready=$("$sockbox" bind-input --bind 127.0.0.1 --once --print-port in 0)
	"$sockbox" bind-output out 127.0.0.1 "${ready#* }" >/dev/null
	"$sockbox" read --follow in | check &
	receiver=$!
	begin
	make | "$sockbox" write out
	"$sockbox" close out
	wait "$receiver"
}

stream_nc() {
	local receiver port
	port=$(port)
	nc -d -l 127.0.0.1 "$port" | check &
	receiver=$!
	listening "$port"
	begin
	make | nc -N 127.0.0.1 "$port"
	wait "$receiver"
}

stream_socat() { # stream_socat [OPTION...]
	local receiver port
	port=$(port)
	socat "$@" -u "TCP-LISTEN:$port,bind=127.0.0.1" - | check &
	receiver=$!
	listening "$port"
	begin
	make | socat "$@" -u - "TCP:127.0.0.1:$port"
	wait "$receiver"
}

stream_pipe() {
	begin
	make | check
}

stream() { # stream PROGRAM FUNCTION [ARG...]
	local program=$1
	shift
	"$@"
	now
	cmp "$tmp/sent" "$tmp/received" >&2 || fail "$program: sent $(cat "$tmp/sent"), received $(cat "$tmp/received")"
	record stream "$program" "$(div $((SIZE * 1000000 / 1048576)) $((now - began)) 1)"
}

for ((round = 0; round < ROUNDS; round++)); do
	stream 'sockbox' stream_sockbox
	if have nc; then
		stream 'nc | nc' stream_nc
	fi
	if have socat; then
		stream 'socat | socat' stream_socat
		stream 'socat -b 262144 | socat' stream_socat -b 262144
	fi
	stream '(a pipe alone)' stream_pipe
done
table stream more MiB/s "$SIZE bytes in lines of 64, process to process"
