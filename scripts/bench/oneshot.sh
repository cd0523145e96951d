#!/usr/bin/env bash
# oneshot.sh: what a shell loop pays for one message: a "write" or a "read" from a bash loop, against
# netcat and socat, a Go program that does nothing and one that dials a unix socket and ends.
#
# usage: oneshot.sh; environment: ROUNDS (5), COUNT (200) messages in each
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${COUNT:=200}"
line=0123456789abcdef0123456789abcde

coproc PEER { exec "$bin/peer" "$tmp" "$line"; }
read -r take give <&"${PEER[0]}"
"$sockbox" bind-output --any-port out "127.0.0.1:$take" >/dev/null
ready=$("$sockbox" bind-input --bind 127.0.0.1 --print-port in 0)
in=${ready#* }

# fill puts COUNT messages into the input.
fill() {
	local i
	for ((i = 0; i < COUNT; i++)); do echo "$line"; done >"/dev/tcp/127.0.0.1/$in"
	until [[ $("$sockbox" list --json in) = *"\"waiting\":$COUNT,"* ]]; do sleep 0.01; done
}

write_sockbox() { "$sockbox" write out "$line"; }
write_nc() { nc -N 127.0.0.1 "$take" <<<"$line"; }
write_nc_unix() { nc -N -U "$tmp/take" <<<"$line"; }
write_socat() { socat -u - "TCP:127.0.0.1:$take" <<<"$line"; }
write_socat_unix() { socat -u - "UNIX-CONNECT:$tmp/take" <<<"$line"; }

read_sockbox() { "$sockbox" read in; }
read_nc() { nc -d 127.0.0.1 "$give"; }
read_nc_unix() { nc -d -U "$tmp/give"; }
read_socat() { socat -u "TCP:127.0.0.1:$give" -; }
read_socat_unix() { socat -u "UNIX-CONNECT:$tmp/give" -; }

empty() { "$bin/empty"; }
dial() { "$bin/dial" "$tmp/give"; }

# loop FUNCTION: run it COUNT times; took is the microseconds for one.
loop() {
	local i began
	now
	began=$now
	for ((i = 0; i < COUNT; i++)); do "$1"; done >"$tmp/got"
	now
	took=$(div $((now - began)) "$COUNT" 1)
}

writes() { # writes PROGRAM FUNCTION
	local came
	loop "$2"
	echo "$COUNT" >&"${PEER[1]}"
	read -r came <&"${PEER[0]}"
	[ "$came" -eq "$COUNT" ] || fail "$1: $came of $COUNT messages arrived"
	record writes "$1" "$took"
}

reads() { # reads PROGRAM FUNCTION
	loop "$2"
	awk -v line="$line" -v want="$COUNT" '$0 == line { n++ } END { exit n != want || NR != want }' "$tmp/got" ||
		fail "$1: not each of $COUNT messages came as it was"
	record reads "$1" "$took"
}

for ((round = 0; round < ROUNDS; round++)); do
	writes 'sockbox write' write_sockbox
	fill
	reads 'sockbox read' read_sockbox
	if have nc; then
		writes 'nc -N, TCP' write_nc
		reads 'nc, TCP' read_nc
		writes 'nc -N -U' write_nc_unix
		reads 'nc -U' read_nc_unix
	fi
	if have socat; then
		writes 'socat -u, TCP' write_socat
		reads 'socat -u, TCP' read_socat
		writes 'socat -u, unix' write_socat_unix
		reads 'socat -u, unix' read_socat_unix
	fi
	for program in writes reads; do
		loop empty
		record "$program" '(an empty Go program)' "$took"
		loop dial
		record "$program" '(one that dials a unix socket)' "$took"
	done
done
table writes less µs "one message sent from a bash loop, $COUNT a round"
table reads less µs "one message received in a bash loop, $COUNT a round"
