package sock

import (
	"encoding/binary"
	"hash/fnv"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func accept(fd int) (int, net.Addr, error) {
	c, sa, err := syscall.Accept4(fd, syscall.SOCK_CLOEXEC)
	if err != nil {
		return -1, nil, err
	}
	return c, toAddr(sa), nil
}

// Peer is who is at the other end of a unix connection.
type Peer struct{ PID, UID, GID int }

// PeerOf tells who is at the other end of a unix connection (SO_PEERCRED, unix(7)).
func PeerOf(fd uintptr) (Peer, bool) {
	cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Peer{}, false
	}
	return Peer{int(cred.Pid), int(cred.Uid), int(cred.Gid)}, true
}

// queueOf looks at what waits at a socket. The number of connections that wait at a TCP listener is
// in its TCP_INFO; all else is told by sock_diag(7). Of datagrams it is the memory that they take, and
// the first of them stands for which ones.
func queueOf(fd int, b *Bound, names bool) Queue {
	if !b.stream {
		q := Queue{n: -1}
		var info [9]uint32 // SK_MEMINFO_VARS; the first is what was received and not read
		size := uint32(unsafe.Sizeof(info))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		if errno == 0 {
			q.n = int(info[0])
		}
		if names {
			var head [512]byte
			n, from, err := syscall.Recvfrom(fd, head[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			if err == nil {
				h := fnv.New64a()
				h.Write(head[:n])
				if a := toAddr(from); a != nil {
					h.Write([]byte(a.String()))
				}
				q.who = map[uint64]bool{h.Sum64(): true}
			}
		}
		return q
	}
	if _, ok := b.local.(*net.UnixAddr); ok {
		return unixQueue(fd)
	}
	q := Queue{n: -1}
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err == nil && info.State == 10 { // TCP_LISTEN: tcpi_unacked is the length of the queue
		q.n = int(info.Unacked)
	}
	if local, ok := b.local.(*net.TCPAddr); ok && names && q.n != 0 {
		q.who = map[uint64]bool{}
		for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
			tcpWaiting(family, local.Port, q.who)
		}
	}
	return q
}

const sockDiagByFamily = 20 // SOCK_DIAG_BY_FAMILY, <linux/sock_diag.h>

// tcpWaiting finds the connections to the port that nobody has accepted: they have no inode yet.
// The kernel's cookie names each. See inet_diag_req_v2 and inet_diag_msg in <linux/inet_diag.h>.
func tcpWaiting(family byte, port int, who map[uint64]bool) {
	req := make([]byte, 56)
	req[0], req[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(req[4:], 1<<1|1<<8) // ESTABLISHED and CLOSE-WAIT
	diag(unix.NLM_F_DUMP, req, func(m []byte) {
		if len(m) < 72 || int(binary.BigEndian.Uint16(m[4:])) != port || binary.NativeEndian.Uint32(m[68:]) != 0 {
			return
		}
		who[binary.NativeEndian.Uint64(m[44:])] = true
	})
}

// unixQueue asks for one listener by its inode: how many wait, and which sockets those are. See
// unix_diag_req, unix_diag_msg and their attributes in <linux/unix_diag.h>.
func unixQueue(fd int) Queue {
	const (
		showICONS, showRQLEN = 0x8, 0x10
		attrICONS, attrRQLEN = 3, 4
	)
	q := Queue{n: -1}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return q
	}
	req := make([]byte, 24)
	req[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(req[4:], ^uint32(0)) // any state
	binary.NativeEndian.PutUint32(req[8:], uint32(st.Ino))
	binary.NativeEndian.PutUint32(req[12:], showICONS|showRQLEN)
	binary.NativeEndian.PutUint64(req[16:], ^uint64(0)) // any cookie
	diag(0, req, func(m []byte) {
		if len(m) < 16 {
			return
		}
		for m = m[16:]; len(m) >= 4; {
			size, kind := int(binary.NativeEndian.Uint16(m)), binary.NativeEndian.Uint16(m[2:])
			if size < 4 || size > len(m) {
				return
			}
			switch value := m[4:size]; {
			case kind == attrRQLEN && len(value) >= 4:
				q.n = int(binary.NativeEndian.Uint32(value))
			case kind == attrICONS:
				q.who = map[uint64]bool{}
				for ; len(value) >= 4; value = value[4:] {
					q.who[uint64(binary.NativeEndian.Uint32(value))] = true
				}
			}
			m = m[min((size+3)&^3, len(m)):]
		}
	})
	return q
}

// diag asks sock_diag(7), and gives each of its answers to f. Without an answer f is not called.
func diag(flags uint16, req []byte, f func([]byte)) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	// The kernel answers at once, or is not asked again.
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1})
	const header = unix.SizeofNlMsghdr
	b := make([]byte, header, header+len(req))
	binary.NativeEndian.PutUint32(b, uint32(header+len(req)))
	binary.NativeEndian.PutUint16(b[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|flags)
	if unix.Sendto(fd, append(b, req...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) != nil {
		return
	}
	answer := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(fd, answer, 0)
		if err != nil || n < header {
			return
		}
		for rest := answer[:n]; len(rest) >= header; {
			size, kind := int(binary.NativeEndian.Uint32(rest)), binary.NativeEndian.Uint16(rest[4:])
			if size < header || size > len(rest) || kind != sockDiagByFamily { // NLMSG_DONE, NLMSG_ERROR
				return
			}
			f(rest[header:size])
			rest = rest[min((size+3)&^3, len(rest)):]
		}
		if flags&unix.NLM_F_DUMP == 0 {
			return
		}
	}
}
