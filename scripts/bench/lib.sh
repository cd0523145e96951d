# shellcheck shell=bash
# lib.sh: what the benchmarks share. It is sourced, not run.
#
# From the environment: ROUNDS, how often everything is measured, by turns (5); SOCKBOX, the program
# (the one in PATH, or in the top folder).
set -euo pipefail
export LC_ALL=C

: "${ROUNDS:=5}"
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
sockbox=${SOCKBOX:-$(command -v sockbox || echo "$top/sockbox")}
[ -x "$sockbox" ] || { echo "$0: $sockbox: build it with: make" >&2; exit 127; }

tmp=$(mktemp -d "${TMPDIR:-/tmp}/sockbox-bench.XXXXXX")
export SOCKBOX_DIR=$tmp/run
bin=$tmp/bin
mkdir -m 700 "$SOCKBOX_DIR" "$bin"

fail() {
	echo "${0##*/}: $*" >&2
	exit 1
}

# What is started in the background is a job of this shell, and ended as one.
# shellcheck disable=SC2317,SC2329 # the trap calls it
clean() {
	local status=$? pid
	[ "$BASHPID" = $$ ] || exit "$status" # a child that was killed before it was its program
	trap '' INT TERM HUP
	trap - EXIT
	"$sockbox" close --quiet --now --all || true
	for pid in $(jobs -p); do kill "$pid" 2>/dev/null || true; done
	wait
	rm -rf "$tmp" "$SOCKBOX_DIR"
	exit "$status"
}
trap clean EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

(cd "$top" && CGO_ENABLED=0 go build -o "$bin/" ./scripts/bench/tools/...) || fail 'the tools could not be built'

# have PROGRAM: it can be compared with; if not, that is said, once. Of the netcats it is OpenBSD's.
have() {
	local why=
	if ! command -v "$1" >/dev/null; then
		why='is not installed'
	elif [ "$1" = nc ] && [[ $(nc -h 2>&1 || true) != *OpenBSD* ]]; then
		why="is not OpenBSD's"
	fi
	[ "$why" ] || return 0
	[ -e "$tmp/without-$1" ] || echo "$1 $why: left out"
	: >"$tmp/without-$1"
	return 1
}

port() { "$bin/freeport"; }

# listening PORT: wait until somebody listens there.
listening() {
	local want i
	want=$(printf ':%04X' "$1")
	for ((i = 0; i < 500; i++)); do
		# address, peer, state: 0A is LISTEN (proc(5))
		if awk -v want="$want" '$4 == "0A" && substr($2, length($2) - 4) == want { found = 1 } END { exit !found }' \
			/proc/net/tcp; then
			return 0
		fi
		sleep 0.01
	done
	fail "nobody listens on port $1"
}

# now sets the variable now to microseconds.
# shellcheck disable=SC2034 # for those who source this
now() { now=${EPOCHREALTIME/[.,]/}; }

# record FILE PROGRAM NUMBER
record() { printf '%s\t%s\n' "$2" "$3" >>"$tmp/$1"; }

# table FILE less|more UNIT TITLE
table() { "$bin/table" "$2" "$3" "$4; $ROUNDS rounds" <"$tmp/$1"; }

# div A B DIGITS
div() { awk -v a="$1" -v b="$2" -v d="$3" 'BEGIN { printf "%.*f\n", d, a / b }'; }

echo "${0##*/}: $(nproc) cores, Linux $(uname -r), $("$sockbox" --version), bash $BASH_VERSION"
