package link

import (
	"errors"
	"fmt"
)

// ErrTakenOver ends a connection whose stream goes on over a newer one.
var ErrTakenOver = errors.New("the stream goes on over a newer connection")

// A receiver is the side of a connection that gets messages: what it has heard and said. It does
// nothing by itself.
type receiver struct {
	pulse
	stream *stream
	taken  uint64 // of the messages that were heard, the last one that was wanted
	credit uint32
	say    byte // a welcome or an ack is due
}

// accept begins with a stream, after its hello.
func (r *receiver) accept(st *stream) {
	r.stream, r.taken, r.say, r.greeted = st, st.last, kindWelcome, true
}

// frame takes in what the peer said. With want, the frame is a message that is to be put into the
// queue, of which put tells when it is done. With end, the stream is over.
func (r *receiver) frame(f frame) (want, end bool, err error) {
	switch {
	case !r.greeted:
		return false, false, errFrame // the hello is the caller's
	case f.kind == kindData:
		if f.seq > r.taken+1 {
			return false, false, fmt.Errorf("after message %d came %d", r.taken, f.seq)
		}
		if f.seq == r.taken+1 {
			r.taken++
			return true, false, nil
		}
		r.again()
		return false, false, nil
	case f.kind == kindPing:
		r.pong = true
		return false, false, nil
	case f.kind == kindPong:
		return false, false, nil
	case f.kind == kindBye:
		return false, true, nil
	}
	return false, false, errFrame
}

func (r *receiver) again() {
	if r.say == 0 {
		r.say = kindAck
	}
}

// put says that n messages that were wanted are in the queue now.
func (r *receiver) put(n int) {
	r.stream.last += uint64(n)
	r.again()
}

// append appends what is to be said.
func (r *receiver) append(dst []byte) []byte {
	if r.say != 0 {
		dst = appendAck(dst, r.say, r.stream.last, r.credit)
		r.say = 0
	}
	return r.pulse.append(dst)
}

// A stream is what a receiver remembers of one: it outlives its connections.
type stream struct {
	id     ID
	last   uint64 // the last message that is in the queue
	newest uint64 // the connection that it goes on over; an older one may have to be closed
	users  int    // connections that have it or wait for it
	idle   uint64 // when the last of them ended, by the count of connections
}

// streams are those that are remembered. Of the idle ones the one whose last connection ended
// first is forgotten when there are too many; one with a connection never is.
type streams struct {
	most  int
	one   bool // the first stream that came is the only one there will be
	known map[ID]*stream
	count uint64 // connections so far
}

var (
	errOther   = errors.New("another stream is served here")
	errStreams = errors.New("there are too many streams")
)

// open begins a connection of a stream whose sender keeps the messages from first on.
func (s *streams) open(id ID, first uint64) (st *stream, conn uint64, err error) {
	st = s.known[id]
	if st == nil {
		if s.one && len(s.known) > 0 {
			return nil, 0, errOther
		}
		if len(s.known) >= s.most && !s.forget() {
			return nil, 0, errStreams
		}
		st = &stream{id: id}
		if s.known == nil {
			s.known = map[ID]*stream{}
		}
		s.known[id] = st
	}
	s.count++
	st.newest = s.count
	st.users++
	return st, s.count, nil
}

// resume settles where the stream goes on. The sender has been told of all messages before first,
// so that they are not missing, even if nobody here remembers them.
func (st *stream) resume(first uint64) { st.last = max(st.last, first-1) }

// close ends a connection of a stream; over says that the stream has ended.
func (s *streams) close(st *stream, over bool) {
	st.users--
	s.count++
	st.idle = s.count
	if over && st.users == 0 && !s.one {
		delete(s.known, st.id)
	}
}

// forget makes room for one more stream.
func (s *streams) forget() bool {
	var oldest *stream
	for _, st := range s.known {
		if st.users == 0 && (oldest == nil || st.idle < oldest.idle) {
			oldest = st
		}
	}
	if oldest == nil {
		return false
	}
	delete(s.known, oldest.id)
	return true
}
