# What the scripts about activate share. Each server is a job of the script's shell.

# serve ARGS...: activate in the background, as $server, once it listens.
serve() {
	rm -f notified
	python3 -c 'import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("notify")
print(s.recv(100).decode(), flush=True)' > notified & waiter=$!
	until [ -S notify ]; do sleep 0.01; done
	NOTIFY_SOCKET=notify activate "$@" 2>> err & server=$!
	while kill -0 $server 2> /dev/null && kill -0 $waiter 2> /dev/null; do sleep 0.01; done
	kill $waiter 2> /dev/null
	wait $waiter 2> /dev/null
	rm -f notify
}

# down [SIGNAL]: ask the server to end, and tell its status if it is not 0.
down() {
	kill ${1:--TERM} $server
	wait $server 2> /dev/null || echo "activate: status $?"
}

tcp() { timeout 20 nc -N 127.0.0.1 $1; }
unix() { timeout 20 nc -N -U $1; }

# eventually COMMAND...: until it succeeds, for at most 20 seconds.
eventually() {
	local i
	for ((i = 0; i < 1000; i++)); do
		if "$@"; then return; fi
		sleep 0.02
	done
	echo "not within 20 seconds: $*"
	return 1
}

lines() { [ "$(cat $2 2> /dev/null | wc -l)" -ge $1 ]; }

# paced: no 21 of the times in starts lie within two seconds, but for what a clock may be off.
paced() {
	awk '{ at[NR] = $1 } END { for (i = 1; i + 20 <= NR; i++) if (at[i + 20] - at[i] < 1.95) print "21 starts in", at[i + 20] - at[i] }' starts
}
