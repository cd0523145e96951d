# shellcheck shell=bash
# For the scripts about www: it is started and ended, and never outlives its script.
trap 'status=$?; kill $(jobs -p) 2>/dev/null || true; wait || true; exit $status' EXIT
u=http://127.0.0.1:$PORT

# serve [ARG…]: www on $PORT, its output in out and err, its pid in pid.
serve() {
	www --listen "127.0.0.1:$PORT" "$@" >out 2>err &
	pid=$!
	sockbox wait -q --timeout 30s "127.0.0.1:$PORT" || { cat err; exit 1; }
}

# ended [ARG…]: tell it to end; it does, with status 0, and has had nothing to say.
ended() {
	kill "$pid"
	wait "$pid"
	[ ! -s err ] || { cat err; exit 1; }
}

# code ARG…: the status that curl gets.
code() { curl -s -o body -w '%{http_code}' "$@"; }

fail() { echo "$*"; exit 1; }

# is WANT ARG…: curl gets this status.
is() {
	local want=$1 got
	shift
	got=$(code "$@") || got="$got, curl's $?"
	[ "$got" = "$want" ] || { echo "$*: $got, want $want"; head -c 300 body; exit 1; }
}

# eventually COMMAND…: it succeeds within thirty seconds.
eventually() {
	local i
	for ((i = 0; i < 1500; i++)); do
		if "$@"; then return; fi
		sleep 0.02
	done
	fail "not in thirty seconds: $*"
}
