#!/usr/bin/env bash
# init.sh: what the functions of "sockbox init" cost a script that has nothing to do with buffers: a
# loop of "read -r line", and one of "read line", over a file, with and without them in each shell.
#
# usage: init.sh; environment: ROUNDS (5), LINES_READ (100000)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${LINES_READ:=100000}"
export XDG_CACHE_HOME=$tmp/cache

seq "$LINES_READ" >"$tmp/lines"
: >"$tmp/init-none"
for shell in bash zsh sh; do "$sockbox" init $shell >"$tmp/init-$shell"; done

# loop SHELL INIT READ: took is the milliseconds that a loop takes, the shell's own start with it.
loop() {
	local began
	now
	began=$now
	# shellcheck disable=SC2086 # a shell and its option
	$1 -c ". '$tmp/init-$2'; while IFS= $3; do :; done <'$tmp/lines'"
	now
	took=$(div $((now - began)) 1000 1)
}

for ((round = 0; round < ROUNDS; round++)); do
	while read -r init shell; do
		have "${shell%% *}" || continue
		for command in 'read -r line' 'read line'; do
			for with in "$init" none; do
				loop "$shell" "$with" "$command"
				name="sockbox init $init"
				[ "$with" != none ] || name='without it'
				record "${command// /_} ${shell// /_}" "$name" "$took"
			done
		done
	done <<-END
		bash bash
		bash bash --posix
		sh dash
		sh busybox sh
		zsh zsh
	END
done
for f in "$tmp"/read_*; do
	f=${f##*/}
	table "$f" less ms "$LINES_READ lines, ${f//_/ }"
done
