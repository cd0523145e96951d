package launch

import (
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"time"

	"sockbox/applets/internal/sock"
)

// acceptLoop starts a program for each connection. Where there are as many as may be, or came faster
// than they may, connections wait to be accepted. Where nobody comes no place is taken: others may need it.
func (a *active) acceptLoop(ctx context.Context, s *sock.Bound, hurry <-chan struct{}) {
	workers := newWorkers(ctx)
	pause := time.Duration(0)
	full := false
	for s.Wait() == nil && a.admitted.place(ctx) {
		c, peer, err := s.Accept()
		if err != nil {
			a.admitted.leave()
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			// A lack of descriptors passes; until then the connection waits where it is.
			if !full {
				a.Log("%s: %s: %v", a.Name, s.Name(), err)
			}
			full, pause = true, min(max(2*pause, 10*time.Millisecond), time.Second)
			if !sleep(ctx, pause) {
				return
			}
			continue
		}
		full, pause = false, 0
		leave, why := a.admitted.enter(peer, c.Fd())
		if leave == nil {
			a.Note("%s: %s: %s", a.Name, peerAddr(peer), why)
			c.Close()
			a.admitted.leave()
			continue
		}
		// Its turn to be started is taken by nobody who is not let in, nor kept for nobody. Who comes
		// meanwhile waits to be accepted.
		if !a.admitted.rate.wait(ctx) {
			c.Close()
			leave()
			a.admitted.leave()
			return
		}
		select {
		case a.starting <- struct{}{}:
		case <-ctx.Done():
		}
		// In a goroutine: while one program is started the next connection is accepted.
		workers.Go(&a.running, func() {
			defer a.admitted.leave()
			defer leave()
			a.converse(ctx, s, c, peer, hurry)
		})
	}
}

// converse runs the program for one connection, and closes that.
func (a *active) converse(ctx context.Context, s *sock.Bound, c *os.File, peer net.Addr, hurry <-chan struct{}) {
	env := peerEnv(make([]string, 0, 10), s, c, peer)
	g := given{std: [3]*os.File{c, c, a.Stderr}, env: env}
	switch {
	case a.Mode != Inetd:
		g.std[0], g.std[1], g.extra = nil, a.Stdout, []*os.File{c}
		g.env = append(g.env, upstartEnv(a.Name, s, 1)...)
		if a.Mode == Listen {
			g.pid = true
			names := []string{"connection"}
			if len(a.FDNames) > 0 {
				names = a.FDNames
			}
			g.env = append(g.env, "LISTEN_FDS=1", "LISTEN_FDNAMES="+fdNames(names, 1))
		}
	default:
		g.env = append(g.env, "PROTO="+protocol(s))
		if a.StderrSocket {
			g.std[2] = c
		}
	}
	child, err := a.retry(ctx, g)
	c.Close()
	select {
	case <-a.starting:
	default: // ctx had ended
	}
	if err != nil {
		if ctx.Err() == nil {
			a.Log("%s: %v", a.Name, err)
		}
		return
	}
	a.Note("%s: %s: process %d", a.Name, peerAddr(peer), child.PID())
	a.watch(ctx, child, hurry)
}

// protocol is the word of UCSPI for a kind of socket.
func protocol(s *sock.Bound) string {
	switch s.Local().(type) {
	case *net.UnixAddr:
		return "UNIX"
	case *net.UDPAddr:
		return "UDP"
	}
	return "TCP"
}

// peerEnv adds what a program is told about a connection: as UCSPI has it (TCPREMOTEIP and so on; for
// unix sockets UNIXREMOTEEUID; but not PROTO, which for Upstart is something else), as CGI does (REMOTE_ADDR, REMOTE_PORT, SERVER_ADDR,
// SERVER_PORT of RFC 3875), and in our own words.
func peerEnv(env []string, s *sock.Bound, c *os.File, peer net.Addr) []string {
	local := s.Local()
	env = append(env, "SOCKBOX_PEER="+peerAddr(peer), "SOCKBOX_LOCAL="+s.Name())
	if u, ok := local.(*net.UnixAddr); ok {
		env = append(env, "UNIXLOCALPATH="+u.Name)
		if p, ok := peer.(*net.UnixAddr); ok && p.Name != "" && p.Name != "@" {
			env = append(env, "UNIXREMOTEPATH="+p.Name)
		}
		if who, ok := sock.PeerOf(c.Fd()); ok {
			env = append(env, "UNIXREMOTEPID="+strconv.Itoa(who.PID), "UNIXREMOTEEUID="+strconv.Itoa(who.UID), "UNIXREMOTEEGID="+strconv.Itoa(who.GID))
		}
		return env
	}
	at, ok := local.(*net.TCPAddr)
	if ok && at.IP.IsUnspecified() {
		if here, is := sock.LocalOf(c.Fd()).(*net.TCPAddr); is {
			at = here
		}
	}
	from, is := peer.(*net.TCPAddr)
	if !ok || !is {
		return env
	}
	ip, port := ipText(at), strconv.Itoa(at.Port)
	rip, rport := ipText(from), strconv.Itoa(from.Port)
	env[len(env)-1] = "SOCKBOX_LOCAL=" + net.JoinHostPort(ip, port)
	return append(env,
		"TCPLOCALIP="+ip, "TCPLOCALPORT="+port, "TCPREMOTEIP="+rip, "TCPREMOTEPORT="+rport,
		"SERVER_ADDR="+ip, "SERVER_PORT="+port, "REMOTE_ADDR="+rip, "REMOTE_PORT="+rport)
}

func ipText(a *net.TCPAddr) string {
	return a.AddrPort().Addr().Unmap().String()
}
