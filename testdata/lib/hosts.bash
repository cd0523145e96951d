# hosts.bash: hosts of a test's own, each in a network namespace, joined by a switch in one more. It is
# sourced, takes root, and leaves nothing behind: the namespaces go with the processes that hold them.
#
#   hosts N         makes hosts 1 to N; host I has 192.168.0.I and fd00::I
#   on I COMMAND…   runs a command there, with a runtime directory of that host
#   at I COMMAND… & the same in the background: $! is the command itself
#   cut I, join I   takes host I's cable out of the switch, and puts it back
#   ready I PORT    waits until somebody there takes datagrams at PORT
hosts() {
	local i
	unshare --net sleep infinity & switch=$!
	namespace $switch
	within $switch ip link add switch type bridge
	within $switch ip link set switch up
	for ((i = 1; i <= $1; i++)); do
		unshare --net sleep infinity & host[i]=$!
		namespace ${host[i]}
		ip link add eth0 netns ${host[i]} type veth peer name port$i netns $switch
		within $switch ip link set port$i master switch up
		within ${host[i]} ip link set lo up
		within ${host[i]} ip link set eth0 up
		within ${host[i]} ip address add 192.168.0.$i/24 dev eth0
		within ${host[i]} ip address add fd00::$i/64 dev eth0 nodad
		mkdir -m 700 run$i
	done
}
within() { nsenter --target $1 --net -- "${@:2}"; }
namespace() { # a process is told to be in its own namespace by another inode than ours
	until [ "$(readlink /proc/$1/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
}
on() { SOCKBOX_DIR=$PWD/run$1 nsenter --target ${host[$1]} --net -- "${@:2}"; }
at() { SOCKBOX_DIR=$PWD/run$1 exec nsenter --target ${host[$1]} --net -- "${@:2}"; }
cut() { within $switch ip link set port$1 down; }
join() { within $switch ip link set port$1 up; }
ready() {
	local want i
	want=$(printf ':%04X 0' $2) # address and port, then those of the peer
	for ((i = 0; i < 1000; i++)); do
		if on $1 cat /proc/net/udp /proc/net/udp6 | grep -qE "[0-9A-F]{8}$want"; then return; fi
		sleep 0.01
	done
	echo "nobody takes datagrams at port $2 of host $1" >&2
	return 1
}
leave() {
	local status=$? pid
	[[ $BASHPID == $$ ]] || return # a child that was killed before its exec
	for pid in ${host[@]} $switch; do kill $pid; done
	rmdir run? || status=1 # not where something is left in it
	exit $status
}
trap leave EXIT
