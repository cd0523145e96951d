#!/usr/bin/env bash
# barrier.sh: hosts that go on together. Each that joins waits until all have, and is then released, as
# for a deployment that is to begin everywhere at the same moment, or nowhere.
#
# usage: barrier.sh lead KEY PORT N
#        barrier.sh join KEY LEADER PORT [ADDR]
#   ADDR  where the leader reaches this host; without it, the host's name
#
# example, anywhere:           barrier.sh lead @/etc/deploy.key 9999 3
#          on three hosts:     barrier.sh join @/etc/deploy.key deployhost 9999 && ./deploy
#
# It does not matter who comes first. Who does not have the key can neither join nor release anybody.
# The leader's status is 1 when somebody who had joined could not be reached any more.
set -euo pipefail

# Whatever ends this ends what it has started, so none of it is waited for in the foreground, where a
# signal would not be heard.
children=()
trap '[ "$BASHPID" != $$ ] || kill "${children[@]}" 2>/dev/null || true' EXIT

lead() {
	local key=$1 port=$2 n=$3 host at child status=0
	local -a joined=()
	exec 3< <(exec sockbox trigger-wait --count "$n" --data "$key" "$port")
	children+=($!)
	mapfile -t joined <&3
	wait "${children[0]}"
	children=()
	while read -r host at; do
		sockbox trigger-send "$key" "$host" "$at" &
		children+=($!)
	done < <(printf '%s\n' "${joined[@]}")
	for child in "${children[@]}"; do
		wait "$child" || status=1
	done
	return "$status"
}

join() {
	local key=$1 leader=$2 port=$3 address=${4:-${HOSTNAME:-$(uname -n)}} mine
	# It listens before the leader hears of it: no release can come too early.
	exec 3< <(exec sockbox trigger-wait --print-port "$key" 0)
	children+=($!)
	IFS= read -r mine <&3
	sockbox trigger-send --retry 1h --data "$address $mine" "$key" "$leader" "$port" &
	children+=($!)
	wait "${children[1]}"
	wait "${children[0]}"
}

case ${1:-}:$# in
lead:4) lead "$2" "$3" "$4" ;;
join:4 | join:5) shift && join "$@" ;;
*)
	echo 'usage: barrier.sh lead KEY PORT N | barrier.sh join KEY LEADER PORT [ADDR]' >&2
	exit 2
	;;
esac
