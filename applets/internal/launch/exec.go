// Package launch is about programs behind sockets: one that clients ask to run programs for them, and
// programs that are started when somebody connects.
package launch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sockbox/applets/internal/life"
	"sockbox/applets/internal/secret"
	"sockbox/applets/internal/sock"
)

// ExecOptions say where programs may be asked for, by whom, which, and how they run.
type ExecOptions struct {
	Addr    sock.Addr
	Listen  sock.ListenOptions
	Backlog int // connections that wait to be accepted; 0: as many as the system allows

	Allow    sock.AccessList // over TCP
	UIDs     []uint32        // over unix sockets; nil: whom the socket's permissions let in
	Programs []string        // patterns, see Programs; nil: all
	Key      secret.Key      // a client has to prove it, over whatever socket
	Keyed    bool            // there is a Key
	TLS      *tls.Config     // and not Key

	MaxConns   int
	Queue      bool          // more than MaxConns wait; else they are closed at once
	Timeout    time.Duration // from accept; 0: none
	Kill       time.Duration // between TERM and KILL
	Linger     time.Duration // what has ended may leave its output open for so long; negative: for ever
	MaxRequest int64         // bytes of arguments
	Strict     bool          // a program that cannot be started is not told of

	Dir    string
	Env    []string // nil: ours
	User   *life.User
	Limits []life.Limit

	Ready func(net.Addr) error
	Warn  func(format string, args ...any)
	Debug func(format string, args ...any) // nil: nobody wants to know
}

// handshakeTime is how long TLS may take.
const handshakeTime = 5 * time.Second

// unasked is how long a connection may hold a place without asking for a program when there is none
// for another.
const unasked = 10 * time.Second

// smallRequest is what each connection may hold without asking others; all that is beyond it, of all
// connections together, is at most what one may. Nothing that a system starts needs as much.
const smallRequest = 64 << 10

// collectSooner is for those who hold no more than they have counted: garbage is not to be as much again.
func collectSooner() {
	const harder = 32 << 20 // from here on the collector tries harder
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(harder)
	}
}

type execServer struct {
	ExecOptions
	ctx   context.Context
	hurry <-chan struct{}
	none  *os.File // the reading end of a pipe that nobody can write to

	workers *workers
	places  chan struct{} // with Queue
	large   atomic.Int64  // bytes of arguments beyond smallRequest
	last    atomic.Uint64
	count   atomic.Int64 // of programs that were started

	mu         sync.Mutex
	runs       map[*run]bool
	processors processors
	all        sync.WaitGroup
}

// Exec serves until stop's context ends. What then runs is sent TERM and, after Kill, KILL; it returns
// when all of it is gone, with all that descends from it, and the socket is. Closing stop's Hurry ends
// the wait.
func Exec(stop *life.Stop, o ExecOptions) error {
	ctx := stop.Context()
	var ln net.Listener
	var err error
	if n, ok := sock.Passed("exec"); ok {
		o.Addr = sock.Addr{Net: "fd", FD: n}
	}
	if ln, err = sock.Listen(ctx, o.Addr, o.Listen); err != nil {
		return err
	}
	defer ln.Close()
	if o.Addr.Net != "fd" && o.Backlog > 0 {
		if err := setBacklog(ln, o.Backlog); err != nil {
			return fmt.Errorf("%s: %w", o.Addr, err)
		}
	}
	if err := secured(&o, ln); err != nil {
		return err
	}
	s := &execServer{ExecOptions: o, ctx: ctx, hurry: stop.Hurry(), workers: newWorkers(ctx), runs: map[*run]bool{}}
	s.bound()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	w.Close()
	defer r.Close()
	s.none = r
	if o.Queue {
		s.places = make(chan struct{}, o.MaxConns)
	}

	s.processors.init()
	collectSooner()
	if err := o.Ready(ln.Addr()); err != nil {
		return err
	}
	if err := life.Notify("READY=1"); err != nil {
		o.Warn("%v", err)
	}
	undump := life.OnSignals(func(sig syscall.Signal) {
		if sig == syscall.SIGUSR1 {
			s.dump()
		} else {
			s.dumpFiles()
		}
	}, syscall.SIGUSR1, syscall.SIGUSR2)
	defer undump()

	err = s.serve(ln)
	life.Notify("STOPPING=1")
	ln.Close() // before the programs have ended: the next server may begin
	s.all.Wait()
	// What programs have left behind, which had given up all that was open.
	return errors.Join(err, life.StopAll(s.Kill, s.hurry))
}

// secured refuses to serve over a network whoever asks.
func secured(o *ExecOptions, ln net.Listener) error {
	if _, unix := ln.Addr().(*net.UnixAddr); unix || o.Keyed {
		return nil
	}
	if o.TLS == nil || o.TLS.ClientAuth != tls.RequireAndVerifyClientCert {
		return fmt.Errorf("%s: programs are run for those only who prove a key, or show a certificate", o.Addr)
	}
	return nil
}

// bound has no more connections than there are descriptors for: each needs four, as upstream counts,
// and one more while a program starts or a slow one is watched.
func (s *execServer) bound() {
	const own, each = 32, 6
	files, err := openFiles()
	if err != nil || uint64(s.MaxConns) <= (files-min(files, own))/each {
		return
	}
	most := int((files - min(files, own)) / each)
	s.Warn("%d connections need %d descriptors, and only %d may be open: taking %d", s.MaxConns, own+each*s.MaxConns, files, max(most, 1))
	s.MaxConns = max(most, 1)
}

func (s *execServer) serve(ln net.Listener) error {
	if s.Keyed {
		server := &secret.Server{
			Key: s.Key, Purpose: secret.ForExec, Plain: secret.PlainNever, Allow: s.Allow.Allows,
			Handle: func(_ context.Context, p secret.Peer) {
				if s.places != nil {
					select {
					case s.places <- struct{}{}:
					case <-s.ctx.Done():
						p.Conn.Close()
						return
					}
				}
				s.connected(p.Conn, true)
			},
			Note: func(a net.Addr, err error) { s.Warn("%s: %v", sock.PeerName(a), sock.Reason(err)) },
		}
		return server.Serve(s.ctx, ln)
	}
	gate := secret.NewGate()
	defer context.AfterFunc(s.ctx, func() { ln.Close() })()
	for {
		if s.places != nil {
			select {
			case s.places <- struct{}{}:
			case <-s.ctx.Done():
				return nil
			}
		}
		c, err := ln.Accept()
		switch {
		case s.ctx.Err() != nil:
			if err == nil {
				c.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // as without descriptors: it passes
			s.Warn("%v", sock.Reason(err))
			s.leave()
			select {
			case <-time.After(100 * time.Millisecond):
			case <-s.ctx.Done():
			}
		case !s.Allow.Allows(c.RemoteAddr()):
			s.Warn("%s: not allowed", sock.PeerName(c.RemoteAddr()))
			c.Close()
			s.leave()
		case s.TLS != nil:
			turn := gate.Admit(c)
			s.all.Go(func() {
				t := tls.Server(c, s.TLS)
				ctx, cancel := context.WithTimeout(s.ctx, handshakeTime)
				err := t.HandshakeContext(ctx)
				cancel()
				turn.Done(err == nil)
				if err != nil {
					s.Warn("%s: %v", sock.PeerName(c.RemoteAddr()), sock.Reason(err))
					c.Close()
					s.leave()
					return
				}
				s.connected(t, t.ConnectionState().NegotiatedProtocol == ALPN)
			})
		default:
			s.workers.Go(&s.all, func() { s.connected(c, false) })
		}
	}
}

// leave gives the place back that a connection had while it was accepted.
func (s *execServer) leave() {
	if s.places != nil {
		<-s.places
	}
}

// connected serves a client, if there is a place. It closes c.
func (s *execServer) connected(c net.Conn, pairs bool) {
	defer s.leave()
	r := &run{s: s, conn: c, pairs: pairs, began: time.Now(), number: s.last.Add(1)}
	if u, ok := c.(*net.UnixConn); ok && s.UIDs != nil {
		if uid, err := peerUID(u); err != nil || !contains(s.UIDs, uid) {
			s.Warn("connection %d: user %d is not allowed", r.number, uid)
			c.Close()
			return
		}
	}
	if !s.enter(r) {
		s.Warn("connection %d: closed, there are %d already", r.number, s.MaxConns)
		c.Close()
		return
	}
	if s.Debug != nil {
		s.Debug("connection %d: accepted, from %s", r.number, sock.PeerName(c.RemoteAddr()))
	}
	r.serve()
	if s.Debug != nil {
		s.Debug("connection %d: closed", r.number)
	}
}

func contains(all []uint32, one uint32) bool {
	for _, v := range all {
		if v == one {
			return true
		}
	}
	return false
}

// enter gives r a place, if there is one: if need be that of the oldest of those that have had long
// enough to ask for something.
func (s *execServer) enter(r *run) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.runs) >= s.MaxConns && s.places == nil {
		var oldest *run
		for other := range s.runs {
			if !other.asked.Load() && (oldest == nil || other.began.Before(oldest.began)) {
				oldest = other
			}
		}
		if oldest == nil || r.began.Sub(oldest.began) < unasked {
			return false
		}
		s.Warn("connection %d: closed, nothing was asked for in %v, and others wait", oldest.number, unasked)
		oldest.conn.Close()
		delete(s.runs, oldest)
	}
	s.runs[r] = true
	s.processors.adapt(len(s.runs))
	return true
}

// exit gives the place back, when nothing of the program is left.
func (s *execServer) exit(r *run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.runs, r)
	s.processors.adapt(len(s.runs))
}

// grow is asked for memory for arguments: had is what the connection has, want what it needs.
func (s *execServer) grow(had, want int64) error {
	if want > s.MaxRequest {
		return fmt.Errorf("its arguments are longer than %d bytes", s.MaxRequest)
	}
	more := max(want-smallRequest, 0) - max(had-smallRequest, 0)
	if more <= 0 {
		return nil
	}
	if s.large.Add(more) > s.MaxRequest {
		s.large.Add(-more)
		return errors.New("there is no room for its arguments, beside those of others")
	}
	return nil
}

func (s *execServer) shrink(had int64) {
	if more := had - smallRequest; more > 0 {
		s.large.Add(-more)
	}
}

// command is how a program is started; its name is checked here.
func (s *execServer) command(args []string) (life.Command, error) {
	cmd := life.Command{Path: args[0], Args: args, Dir: s.Dir, Env: s.Env, Stdout: life.Pipe, Stderr: life.Pipe, Mark: true, Limits: s.Limits}
	if s.User != nil {
		cmd.Credential = s.User.Credential
	}
	if s.Programs == nil {
		return cmd, nil
	}
	path, err := permitted(s.Programs, args[0], s.Dir)
	cmd.Path = path
	return cmd, err
}

// dump tells of each connection, for SIGUSR1.
func (s *execServer) dump() {
	s.mu.Lock()
	var lines []string
	for r := range s.runs {
		lines = append(lines, r.describe())
	}
	s.mu.Unlock()
	s.Warn("%d of %d connections, %d programs were started%s", len(lines), s.MaxConns, s.count.Load(), strings.Join(append([]string{""}, lines...), "\n"))
}

// dumpFiles tells of each open descriptor, for SIGUSR2.
func (s *execServer) dumpFiles() {
	var lines []string
	for fd := range 1 << 16 {
		if what, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil {
			lines = append(lines, fmt.Sprintf("descriptor %d: %s", fd, what))
		} else if fd > 256 && len(lines) < fd/16 {
			break
		}
	}
	s.Warn("%d descriptors\n%s", len(lines), strings.Join(lines, "\n"))
}
