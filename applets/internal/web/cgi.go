package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sockbox/applets/internal/life"
	"sockbox/applets/internal/sock"
)

// What a script can count on is RFC 3875, the Common Gateway Interface 1.1. Where it leaves a choice:
//
//	4.1     a variable without a value is not set; QUERY_STRING always is, as it was sent
//	4.1.2   the length of a body is known before the script starts: one that comes without is taken in
//	        first, in memory or in a file that has no name
//	4.1.6   PATH_TRANSLATED is PATH_INFO below the site's folder, and never outside of it
//	4.1.14  SERVER_NAME is what the client used if it can be a name, else our address
//	4.1.15  SERVER_PORT is where it came in, whatever the Host field says
//	4.1.18  HTTP_PROXY does not exist, HTTP_AUTHORIZATION only if it is asked for
//	4.2     stdin is the body and then its end; a script need not read it
//	4.4     there are no arguments: words of the query as a command line are how options are smuggled in
//	5       nph- scripts are scripts like others
//	6.2.2   a local redirect is answered as a GET (or HEAD) of the other path, at most five in a row
//	6.3     a header that is not one is the script's fault: 502, and why in the log
//	6.3.4   fields about the connection are the server's, and dropped
//	7.2     a script starts in its folder; it is never run by a shell
//
// A script's answer ends when it ends, or closes its output; then it may work on for as long as it may
// be silent (--cgi-timeout). When it has ended, what it has started is ended too: its process group,
// and whatever else descends from it. What is to outlive a request is to be started by something else.
//
// A script ends with its client, too. One that ends what it sends has gone, unless it has said before that it
// asks no more (HTTP/1.0, Connection: close): then it is read from until it refuses what comes.
//
// The same is so for PHP. By php-cgi it is a script whose program is PHP; by FastCGI the processes
// are somebody else's.

const (
	waitForSlot  = 10 * time.Second       // for another script to end, then 503
	pause        = 2 * time.Millisecond   // what is said within it goes out in one piece
	maxRedirects = 5                      // local ones, in a row
	smallBody    = 16 << 10               // read before the script starts: a slow client keeps none waiting
	spoolMemory  = 64 << 10               // of a body whose length was not told, then it is a file
	lingerBody   = 2 * time.Second        // for a client to see the answer while it sends
	maxRest      = 1 << 20                // of output that nobody gets, as a body for HEAD
	lastWords    = 100 * time.Millisecond // for the end of a script that has closed its output
)

// A gateway is the dynamic of DynamicOptions.
type gateway struct {
	o       DynamicOptions
	local   http.Handler // answers local redirects
	errors  *scriptLog
	tell    func(format string, args ...any)
	php     string    // the path of php-cgi
	fastcgi sock.Addr // or where a FastCGI server is
	slots   *places
	calls   *places // the same for FastCGI

	ending  sync.WaitGroup // those who end scripts
	closing chan struct{}  // no script is waited for any more
	hurry   chan struct{}  // there is no grace either

	starting sync.RWMutex
	closed   bool // none is started any more
	started  atomic.Bool
}

// newDynamic returns nil if there is nothing to run. local is where local redirects go. What scripts
// write to stderr goes to errors, each line with the script's name.
func newDynamic(o DynamicOptions, local http.Handler, stderr io.Writer, tell func(format string, args ...any)) (dynamic, error) {
	if len(o.CGI) == 0 && o.PHP == "" {
		return nil, nil
	}
	if o.Timeout <= 0 {
		o.Timeout = time.Minute
	}
	if o.Procs <= 0 {
		o.Procs = 40
	}
	if tell == nil {
		tell = func(string, ...any) {}
	}
	for _, v := range o.Env {
		if name, _, ok := strings.Cut(v, "="); !ok || name == "" || strings.ContainsRune(v, 0) {
			return nil, fmt.Errorf("%q: a variable is NAME=VALUE", v)
		}
	}
	g := &gateway{
		o: o, local: local, errors: &scriptLog{w: stderr}, tell: tell,
		slots: newPlaces(o.Procs), calls: newPlaces(maxCalls),
		closing: make(chan struct{}), hurry: make(chan struct{}),
	}
	if o.PHP != "" {
		at, ok, err := fastcgiAddr(o.PHP)
		if err != nil {
			return nil, err
		}
		if g.fastcgi = at; !ok {
			if g.php, err = exec.LookPath(o.PHP); err == nil {
				g.php, err = filepath.Abs(g.php)
			}
			switch {
			case errors.Is(err, exec.ErrNotFound), errors.Is(err, os.ErrNotExist):
				return nil, fmt.Errorf("%s: %w", o.PHP, life.ErrNotFound)
			case err != nil:
				return nil, fmt.Errorf("%s: %w", o.PHP, life.ErrCannotRun)
			}
		}
	}
	return g, nil
}

func (g *gateway) serve(w http.ResponseWriter, r *http.Request, s script, p peer) {
	x := &exchange{gateway: g, w: w, r: r, out: http.NewResponseController(w), script: s, peer: p, over: make(chan struct{})}
	linger := lingerBody
	defer func() {
		x.letBodyGo(linger)
		x.body.close()
	}()
	err := x.serve()
	switch {
	case err == nil && x.head.local != "":
		x.redirect()
	case err == nil:
	case x.answering:
		g.note(s, err)
		linger = 0
		panic(http.ErrAbortHandler) // the client must see that this is not all
	default:
		var no *refused
		if !errors.As(err, &no) {
			no = &refused{http.StatusBadGateway, err}
		}
		if no.status == 0 { // nobody is there to read it
			linger = 0
			panic(http.ErrAbortHandler)
		}
		if no.status >= 500 {
			g.note(s, err)
		}
		if no.status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "10")
		}
		x.fail(no.status)
	}
}

func (g *gateway) note(s script, err error) {
	if !errors.Is(err, errGone) {
		g.tell("%s: %v", s.file, err)
	}
}

// A refused is an error with the status that the client sees; 0 is none.
type refused struct {
	status int
	why    error
}

func (e *refused) Error() string { return e.why.Error() }
func (e *refused) Unwrap() error { return e.why }

var errGone = errors.New("the client has gone")

type redirects struct{} // the key of how many there were, in a context

func (x *exchange) redirect() {
	r, to := x.r, x.head.local
	n, _ := r.Context().Value(redirects{}).(int)
	u, err := url.ParseRequestURI(to)
	if err == nil && n == maxRedirects {
		err = errors.New("one local redirect after another")
	}
	if err != nil {
		x.note(x.script, err)
		x.fail(http.StatusBadGateway)
		return
	}
	again := r.Clone(context.WithValue(r.Context(), redirects{}, n+1))
	if again.Method != http.MethodHead {
		again.Method = http.MethodGet
	}
	again.URL, again.RequestURI = u, to
	again.Body, again.ContentLength, again.TransferEncoding = http.NoBody, 0, nil
	for _, name := range []string{"Content-Length", "Content-Type", "Content-Encoding", "Transfer-Encoding", "Expect"} {
		again.Header.Del(name)
	}
	x.local.ServeHTTP(x.w, again)
}

// fail answers in place of the script.
func (x *exchange) fail(status int) {
	if w, ok := x.w.(*response); ok {
		w.s.fail(w, x.r, w.s.site(x.peer.host, x.peer.local), status, "")
		return
	}
	http.Error(x.w, http.StatusText(status), status)
}

// close ends the scripts that have answered and work on, and then all that scripts have left behind.
func (g *gateway) close(ctx context.Context) error {
	g.starting.Lock()
	g.closed = true
	g.starting.Unlock()
	close(g.closing)
	stop := context.AfterFunc(ctx, func() { close(g.hurry) })
	defer stop()
	g.ending.Wait()
	if !g.started.Load() { // nor did anybody take in orphans
		return nil
	}
	return life.StopAll(g.o.Grace, g.hurry)
}

// enter waits for a place in all.
func (x *exchange) enter(all *places) error {
	x.from = network(x.peer.addr)
	switch err := all.take(x.r.Context(), x.from, waitForSlot, x.closing); {
	case errors.Is(err, errNoPlace):
		return &refused{http.StatusServiceUnavailable, err}
	case err != nil:
		return &refused{0, errGone}
	}
	return nil
}

// An exchange is one request, and a script's answer to it.
type exchange struct {
	*gateway
	w      http.ResponseWriter
	r      *http.Request
	out    *http.ResponseController
	script script
	peer   peer
	body   input
	from   netip.Addr // by what its place is counted
	head   scriptHead

	answering bool // the client has been told a status
	complete  bool // and has all that it gets
	began     time.Time
	last      atomic.Int64            // when the script last took or gave something, in nanoseconds since began
	halted    atomic.Pointer[refused] // why there is no use in going on
	wake      func()                  // has whoever reads from the script look at that
	fed       chan struct{}           // closed when the request's body is not read any more; nil: it is in memory
	over      chan struct{}           // closed when nothing is read from the script any more
}

func (x *exchange) serve() error {
	x.began = time.Now()
	if strings.ContainsRune(x.script.pathInfo+x.script.name, 0) || strings.ContainsRune(x.r.URL.RawQuery, 0) {
		return &refused{http.StatusBadRequest, errors.New("a NUL in the path")}
	}
	if err := x.body.take(x.r); err != nil {
		return err
	}
	if x.script.php && x.php == "" {
		return x.call()
	}
	return x.run()
}

// run has a program of this machine answer.
func (x *exchange) run() error {
	if err := x.enter(x.slots); err != nil {
		return err
	}
	file := filepath.Join(x.script.dir, filepath.FromSlash(x.script.file))
	cmd := life.Command{
		Path: file, Dir: filepath.Dir(file), Env: environment(&x.o, x.r, x.script, x.peer, x.body.length, true),
		Stdin: x.body.file, Stdout: life.Pipe, Stderr: life.Pipe, Mark: true,
	}
	if x.script.php {
		cmd.Path = x.php
	}
	c, feed, err := x.launch(cmd)
	if err != nil {
		x.slots.give(x.from)
		return err
	}
	gone := make(chan struct{})
	go x.end(c, feed, gone)
	from := c.Stdout.(source)
	x.feedTo(feed, from)
	err = x.relay(from)
	if err == nil && x.head.local == "" && !x.complete {
		late := time.NewTimer(lastWords)
		select {
		case <-c.Done():
			if end := c.Wait(); end.Signal != 0 {
				err = fmt.Errorf("%v", end)
			}
		case <-late.C: // it works on, and has said all
		}
		late.Stop()
	}
	if err != nil || !x.isFed() { // half a body must not look like a whole one: it is ended before its stdin is
		close(gone)
	}
	close(x.over)
	if x.fed != nil {
		feed.SetWriteDeadline(longAgo)
	}
	return err
}

// start starts a script, which is one of ending then.
func (g *gateway) start(cmd life.Command) (*life.Child, error) {
	g.starting.RLock()
	defer g.starting.RUnlock()
	if g.closed {
		return nil, errors.New("the server ends")
	}
	c, err := life.Start(cmd)
	if err == nil {
		g.ending.Add(1)
		g.started.Store(true)
	}
	return c, err
}

// launch starts a script, with the pipe that its body goes into, if it needs one.
func (x *exchange) launch(cmd life.Command) (*life.Child, *os.File, error) {
	// what was found under this name must still be there
	if now, err := os.Stat(filepath.Join(x.script.dir, filepath.FromSlash(x.script.file))); err != nil || !os.SameFile(now, x.script.info) {
		return nil, nil, &refused{http.StatusNotFound, errors.New("the script has gone")}
	}
	var feed, drain *os.File
	if x.body.length > 0 && x.body.file == nil {
		var err error
		if drain, feed, err = os.Pipe(); err != nil {
			return nil, nil, &refused{http.StatusServiceUnavailable, err}
		}
		defer drain.Close()
		cmd.Stdin = drain
	}
	c, err := x.start(cmd)
	if err != nil {
		if feed != nil {
			feed.Close()
		}
		status := http.StatusServiceUnavailable
		if errors.Is(err, life.ErrNotFound) || errors.Is(err, life.ErrCannotRun) {
			status = http.StatusInternalServerError
		}
		return nil, nil, &refused{status, err}
	}
	return c, feed, nil
}

// end sees to it that the script and its descendants end, and gives its place to another one.
func (x *exchange) end(c *life.Child, feed *os.File, gone <-chan struct{}) {
	defer x.ending.Done()
	said := make(chan struct{})
	go func() {
		defer close(said)
		x.errors.copy(x.script.file, c.Stderr)
	}()
	select {
	case <-c.Done():
	case <-gone:
	case <-x.over:
		// A script may work on. What it says goes nowhere then, but it should not be stopped by that.
		go func() {
			c.Stdout.(source).SetReadDeadline(time.Time{})
			io.CopyN(io.Discard, c.Stdout, maxRest)
			c.Stdout.Close()
		}()
		late := time.NewTimer(x.o.Timeout)
		select {
		case <-c.Done():
		case <-gone:
		case <-late.C:
		case <-x.closing:
		}
		late.Stop()
	}
	if err := c.Stop(x.o.Grace, x.hurry); err != nil {
		x.tell("%s: %v", x.script.file, err)
		c.Stdout.Close() // or its answer would not end
		c.Stderr.Close()
	}
	if feed != nil {
		feed.Close()
	}
	x.slots.give(x.from)
	<-x.over
	<-said
	c.Stdout.Close()
	c.Stderr.Close()
}

// feedTo writes the request's body into the script, in a goroutine. to is closed behind a whole body
// only.
func (x *exchange) feedTo(to io.WriteCloser, from source) {
	x.wake = func() { from.SetReadDeadline(longAgo) }
	switch {
	case x.body.memory != nil: // for as long as the script lives
		go func() {
			if _, err := to.Write(x.body.memory); err == nil {
				to.Close()
			}
		}()
	case x.body.stream != nil:
		x.stream(true, func(b []byte) error {
			if len(b) == 0 {
				return to.Close()
			}
			_, err := to.Write(b)
			return err
		})
	}
}

// stream gives the request's body to a function, in a goroutine that has ended when fed is closed: pieces
// of it, and nothing for its end. When that wants no more the rest is read all the same: a client that
// is busy sending would not see the answer.
func (x *exchange) stream(wanted bool, give func([]byte) error) {
	x.fed = make(chan struct{})
	go func() {
		defer close(x.fed)
		b := blocks.Get().(*[blockSize]byte)
		defer blocks.Put(b)
		for {
			n, err := x.body.stream.Read(b[:])
			if n > 0 && wanted {
				wanted = give(b[:n]) == nil
				x.progress()
			}
			switch {
			case err == io.EOF && wanted:
				give(nil)
				return
			case err == io.EOF, !wanted && x.body.file != nil:
				return
			case err != nil:
				x.halt(refuseBody(err))
				return
			}
		}
	}()
}

// isFed tells whether the client's part of the request is over.
func (x *exchange) isFed() bool {
	if x.fed == nil {
		return true
	}
	select {
	case <-x.fed:
		return true
	default:
		return false
	}
}

// letBodyGo returns when nobody reads the request's body any more. After linger it is cut off.
func (x *exchange) letBodyGo(linger time.Duration) {
	if x.isFed() {
		return
	}
	x.out.Flush()
	late := time.NewTimer(linger)
	defer late.Stop()
	for {
		select {
		case <-x.fed:
			return
		case <-late.C:
			// What bounds the time for the body may set a deadline after this.
			x.out.SetReadDeadline(longAgo)
			late.Reset(10 * time.Millisecond)
		}
	}
}

var longAgo = time.Unix(1, 0)

// halt ends the exchange, from whatever goroutine.
func (x *exchange) halt(why *refused) {
	x.halted.CompareAndSwap(nil, why)
	x.wake()
}

func (x *exchange) progress() { x.last.Store(int64(time.Since(x.began))) }

// A source is where a script's answer comes from. Read returns io.EOF behind the last of it.
type source interface {
	io.Reader
	SetReadDeadline(time.Time) error
}

// relay reads a script's answer, and writes it to the client as it comes.
func (x *exchange) relay(from source) error {
	b := blocks.Get().(*[blockSize]byte)
	defer blocks.Put(b)
	stop := context.AfterFunc(x.r.Context(), func() { x.halt(&refused{0, errGone}) })
	defer stop()
	x.progress()

	n, end := 0, 0
	for end == 0 {
		if n == maxScriptHead {
			return fmt.Errorf("its header is longer than %d bytes", maxScriptHead)
		}
		m, err := x.read(from, b[n:maxScriptHead])
		if m > 0 {
			// The first empty line is the one: there may be others in the body.
			end = firstEmptyLine(b[:n+m], n)
			n += m
			continue
		}
		switch {
		case err == io.EOF && n == 0:
			return errors.New("it said nothing")
		case err == io.EOF:
			if _, err := parseScriptHead(b[:n]); err != nil { // which says more
				return err
			}
			return errors.New("it ended within its header")
		case err != nil:
			return err
		}
	}
	var err error
	if x.head, err = parseScriptHead(b[:end]); err != nil || x.head.local != "" {
		return err
	}
	return x.answer(from, b, b[end:n])
}

// firstEmptyLine returns where the first empty line ends, and 0 if there is none; none was there
// before from.
func firstEmptyLine(b []byte, from int) int {
	for {
		i := bytes.IndexByte(b[from:], '\n')
		if i < 0 {
			return 0
		}
		if end := headEnd(b[:from+i+1], from+i); end > 0 {
			return end
		}
		from += i + 1
	}
}

// answer writes the header, what there is of the body, and the rest as it comes.
func (x *exchange) answer(from source, b *[blockSize]byte, have []byte) error {
	to := x.w.Header()
	for name, values := range x.head.header {
		to[name] = values
	}
	status := x.head.status
	if status == 0 {
		status = http.StatusOK
	}
	silent := x.r.Method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified
	if silent && x.r.Method != http.MethodHead {
		to.Del("Content-Length")
	}
	if !x.isFed() && x.body.file == nil && x.r.ProtoMajor == 1 { // an answer may begin before the body has ended
		x.out.EnableFullDuplex()
		// Then it may never be read to its end, and what is left of it must not be taken for a request.
		to.Set("Connection", "close")
	}
	x.answering = true
	x.w.WriteHeader(status)
	left, flushed := x.head.length, false // bytes that the script has promised; below 0: none
	write := func(p []byte) error {
		if left >= 0 {
			p = p[:min(int64(len(p)), left)]
			left -= int64(len(p))
		}
		if len(p) == 0 || silent {
			return nil
		}
		flushed = false
		if _, err := x.w.Write(p); err != nil {
			return fmt.Errorf("%w: %w", errGone, err)
		}
		x.progress()
		return nil
	}
	if err := write(have); err != nil {
		return err
	}
	for {
		if silent || left == 0 {
			x.complete = true
			return nil
		}
		var n int
		var err error
		if flushed {
			n, err = x.read(from, b[:])
		} else { // a little later, or the header and each line would be a packet
			from.SetReadDeadline(time.Now().Add(pause))
			n, err = x.readNow(from, b[:])
			if errors.Is(err, os.ErrDeadlineExceeded) {
				if err := x.out.Flush(); err != nil {
					return fmt.Errorf("%w: %w", errGone, err)
				}
				flushed = true
				continue
			}
		}
		if err == io.EOF {
			break
		}
		if err == nil {
			err = write(b[:n])
		}
		if err != nil {
			return err
		}
	}
	if left > 0 {
		return fmt.Errorf("it ended %d bytes before its Content-Length", left)
	}
	return nil
}

// read waits until the script says something, as long as it, or the body that it is given, moves.
func (x *exchange) read(from source, b []byte) (int, error) {
	for {
		quiet := time.Duration(x.last.Load())
		from.SetReadDeadline(x.began.Add(quiet + x.o.Timeout))
		n, err := x.readNow(from, b)
		if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			if time.Since(x.began) < time.Duration(x.last.Load())+x.o.Timeout {
				continue
			}
			return 0, &refused{http.StatusGatewayTimeout, fmt.Errorf("it was silent for %v", x.o.Timeout)}
		}
		return n, err
	}
}

// readNow reads with the deadline that was set.
func (x *exchange) readNow(from source, b []byte) (int, error) {
	// Only now: halt sets a deadline too, and ours must not undo it.
	if no := x.halted.Load(); no != nil {
		return 0, no
	}
	n, err := from.Read(b)
	if n > 0 {
		x.progress()
		return n, nil
	}
	if no := x.halted.Load(); no != nil {
		return 0, no
	}
	return 0, err
}

const blockSize = 64 << 10 // what a pipe holds

var blocks = sync.Pool{New: func() any { return new([blockSize]byte) }}
