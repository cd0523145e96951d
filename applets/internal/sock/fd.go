package sock

import (
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Inherited is what a descriptor turned out to be; one field is set.
type Inherited struct {
	Listener net.Listener   // a listening stream socket; what it accepts is tuned
	Packet   net.PacketConn // a socket for datagrams
	Conn     net.Conn       // a connected stream socket, tuned
	File     *os.File       // a pipe, a FIFO, a terminal, a file
}

// The kinds of descriptor, as Inherited tells them apart.
type fdKind string

const (
	fdListener fdKind = "a listening socket"
	fdPacket   fdKind = "a socket for datagrams"
	fdConn     fdKind = "a connected socket"
	fdFIFO     fdKind = "a pipe"
	fdFile     fdKind = "a file"
)

// Passed finds a descriptor that a service manager has passed (sd_listen_fds(3)):
// the one called name, or else the first. ok is false where none was passed, or
// the variables are meant for another process. Afterwards the variables are gone,
// so that no child takes them for its own: ask once.
func Passed(name string) (n int, ok bool) {
	const first = 3 // SD_LISTEN_FDS_START
	pid, count, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, v := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(v)
	}
	if pid != strconv.Itoa(os.Getpid()) {
		return 0, false
	}
	fds, err := strconv.Atoi(count)
	if err != nil || fds < 1 {
		return 0, false
	}
	if i := slices.Index(strings.Split(names, ":"), name); i >= 0 && i < fds {
		return first + i, true
	}
	return first, true
}

// sockets turns a socket into package net's idea of it. The file stays open:
// package net makes its own duplicate.
func sockets(f *os.File, kind fdKind) (in Inherited, err error) {
	switch kind {
	case fdListener:
		in.Listener, err = net.FileListener(f)
		if tcp, ok := in.Listener.(*net.TCPListener); ok {
			in.Listener = tcpListener{TCPListener: tcp}
		}
	case fdPacket:
		in.Packet, err = net.FilePacketConn(f)
	case fdConn:
		in.Conn, err = net.FileConn(f)
		if err == nil {
			Tune(in.Conn)
		}
	default:
		err = syscall.ENOTSOCK
	}
	return in, err
}
