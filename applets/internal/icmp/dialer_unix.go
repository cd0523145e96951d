//go:build linux || darwin || freebsd

package icmp

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// A dialer is the carrier that connects to a TCP port. The answer is the connection, which is broken
// off at once, with a reset: so that nothing is left of it on either side.
type dialer struct {
	waker
	o    *Options
	most int
	fds  []unix.PollFd // the waker, then the connections that are being made
	ids  []uint16      // of the requests, by the same places
}

// kept is how many descriptors are not for connections.
const kept = 32

func newDialer(o *Options, w waker) *dialer {
	d := &dialer{waker: w, o: o, most: 1024, ids: []uint16{0}}
	d.fds = []unix.PollFd{{Fd: w.fd(), Events: unix.POLLIN}}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil {
		d.most = int(min(uint64(d.most), uint64(limit.Cur)-min(uint64(limit.Cur)-1, kept)))
	}
	return d
}

func (d *dialer) peer(h *Host) (any, error) { return sockaddr(h.Addr, d.o.TCP), nil }

func (d *dialer) send(h *Host, id uint16) error {
	if len(d.fds) > d.most {
		return errBusy
	}
	family := unix.AF_INET
	if h.Addr.Is6() {
		family = unix.AF_INET6
	}
	fd, err := newSocket(family, unix.SOCK_STREAM, unix.IPPROTO_TCP)
	if err == unix.EMFILE || err == unix.ENFILE {
		if len(d.fds) > 1 {
			return errBusy
		}
	}
	if err != nil {
		return err
	}
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	if err := bindOut(fd, h.Addr.Is6(), d.o); err != nil {
		unix.Close(fd)
		return err
	}
	// Also where it is done at once, the loop learns of it by asking.
	if err := unix.Connect(fd, h.peer.(unix.Sockaddr)); err != nil && err != unix.EINPROGRESS && err != unix.EINTR {
		unix.Close(fd)
		return err
	}
	d.fds = append(d.fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT})
	d.ids = append(d.ids, id)
	return nil
}

func (d *dialer) receive(p *Pinger) error {
	if len(d.fds) == 1 {
		return nil
	}
	if err := poll(d.fds, 0); err != nil {
		return err
	}
	now := p.now()
	for i := len(d.fds) - 1; i > 0; i-- {
		if d.fds[i].Revents == 0 {
			continue
		}
		id := d.ids[i]
		n, err := unix.GetsockoptInt(int(d.fds[i].Fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && n != 0 {
			err = unix.Errno(n)
		}
		d.drop(i)
		h := p.Hosts[p.slot(id).host]
		if err != nil {
			p.fail(id, h.Addr, err.Error(), now)
		} else {
			p.answer(id, h.Addr, reply{}, time.Time{}, now)
		}
	}
	return nil
}

func (d *dialer) drop(i int) {
	unix.Close(int(d.fds[i].Fd))
	last := len(d.fds) - 1
	d.fds[i], d.ids[i] = d.fds[last], d.ids[last]
	d.fds, d.ids = d.fds[:last], d.ids[:last]
}

func (d *dialer) forget(id uint16) {
	for i := len(d.fds) - 1; i > 0; i-- {
		if d.ids[i] == id {
			d.drop(i)
		}
	}
}

func (d *dialer) wait(t time.Duration) error { return poll(d.fds, t) }

func (d *dialer) describe() string { return fmt.Sprintf("connections to port %d", d.o.TCP) }

func (d *dialer) close() {
	d.waker.close()
	for _, p := range d.fds[1:] {
		unix.Close(int(p.Fd))
	}
}
