#!/usr/bin/env bash
# fifo.sh: what a shell loop pays for one message by way of "sockbox path": a read or an echo of
# bash's own, against a "sockbox read" or "sockbox write" for each, and against a plain FIFO with cat
# at the other end.
#
# usage: fifo.sh; environment: ROUNDS (5), COUNT (20000) messages in each, and a hundredth of them
# where each takes a program
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${COUNT:=20000}"
few=$((COUNT / 100))
line=0123456789abcdef0123456789abcde

ready=$("$sockbox" bind-input --fifo --bind 127.0.0.1 --print-port in 0)
port=${ready#* }
"$sockbox" bind-input --bind 127.0.0.1 --print-port --overflow drop-oldest sink 0 >"$tmp/sink"
read -r _ sink <"$tmp/sink"
"$sockbox" bind-output --fifo out "127.0.0.1:$sink" >/dev/null
exec {in}<>"$("$sockbox" path in)"
out=$("$sockbox" path out)
mkfifo "$tmp/plain" "$tmp/drain"
awk -v line="$line" -v n="$COUNT" 'BEGIN { while (n--) print line }' >"$tmp/lines"

# fill NUMBER: put so many messages into the input.
fill() {
	head -n "$1" "$tmp/lines" >"/dev/tcp/127.0.0.1/$port"
	until [[ $("$sockbox" list --json in) =~ \"waiting\":([0-9]+),.*\"leased\":([0-9]+), ]] &&
		((BASH_REMATCH[1] + BASH_REMATCH[2] == $1)); do :; done
}

# timed NUMBER LOOP: took is the microseconds for one of so many.
timed() {
	local began
	now
	began=$now
	"$2" "$1"
	now
	took=$(div $((now - began)) "$1" 2)
}

# Each of these takes the number of messages; reads and writes_open go by the descriptor from, writes by
# the path to.
reads() {
	local i m
	for ((i = 0; i < $1; i++)); do
		read -r -u "$from" m
		[ "$m" = "$line" ] || fail "got $m"
	done
}
programs_read() {
	local i
	for ((i = 0; i < $1; i++)); do "$sockbox" read in; done >"$tmp/got"
}
writes() {
	local i
	for ((i = 0; i < $1; i++)); do echo "$line" >"$to"; done
}
writes_open() {
	local i
	for ((i = 0; i < $1; i++)); do echo "$line" >&"$from"; done
}
programs_write() {
	local i
	for ((i = 0; i < $1; i++)); do "$sockbox" write out "$line"; done
}

for ((round = 0; round < ROUNDS; round++)); do
	fill "$COUNT"
	from=$in
	timed "$COUNT" reads
	record reads 'sockbox path, read -u' "$took"
	exec {in}<&- # what it has ahead is for the programs
	fill "$few"
	timed "$few" programs_read
	record reads 'sockbox read' "$took"
	exec {in}<>"$("$sockbox" path in)"
	cat "$tmp/lines" >"$tmp/plain" &
	exec {from}<"$tmp/plain"
	timed "$COUNT" reads
	record reads 'a plain FIFO, read -u' "$took"
	exec {from}<&-

	to=$out
	timed "$COUNT" writes
	record writes 'sockbox path, echo >' "$took"
	exec {from}>"$out"
	timed "$COUNT" writes_open
	record writes 'sockbox path, echo >&, kept open' "$took"
	exec {from}>&-
	timed "$few" programs_write
	record writes 'sockbox write' "$took"
	cat "$tmp/drain" >/dev/null &
	exec {keep}>"$tmp/drain"
	to=$tmp/drain
	timed "$COUNT" writes
	record writes 'a plain FIFO, echo >' "$took"
	from=$keep
	timed "$COUNT" writes_open
	record writes 'a plain FIFO, echo >&, kept open' "$took"
	exec {keep}>&-
done
table reads less µs "one message read in a bash loop, $COUNT (or $few) a round"
table writes less µs "one message written in a bash loop, $COUNT (or $few) a round"
