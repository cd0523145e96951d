package web

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Files that are asked for stay open, and small ones in memory with the head of their answer. Every
// request asks the system about the open file, so that a change of it shows at once; its place
// among folders and links is looked at again after a second.

const (
	cacheTime  = time.Second            // for how long the way to a file is believed
	cacheFiles = 512                    // open at most, but for those being sent
	cacheBytes = 64 << 20               // of contents
	smallFile  = 64 << 10               // held in memory
	gzipLeast  = 256                    // bytes below which compressing is not worth the trouble
	gzipMost   = 2 << 20                // bytes up to which what was compressed is kept; more is compressed as it is sent
	youngFile  = 100 * time.Millisecond // within the system's clock for files, two changes may look like one
)

// An entry is a file that is open, with what there is to say of it. It does not change but for what
// is compressed later, and is closed when the last who holds it lets go.
type entry struct {
	s     *site
	name  string // below the root
	media string
	stamp stamp
	vary  bool // there may be other encodings
	gzips bool // is compressed when it is asked for so

	stays atomic.Bool // it does not get smaller

	checked atomic.Int64 // when the way to it was last looked at, in nanoseconds
	refs    atomic.Int32

	mu       sync.Mutex // of gzip's making
	variants [encodings]atomic.Pointer[variant]
}

// A variant is a representation of a file: as it is, or compressed.
type variant struct {
	file     *os.File // nil: all is in body, or made from the plain file as it is sent
	fd       int
	stamp    stamp // of file, or of the one it is made from
	body     []byte
	size     int64 // -1: not known beforehand
	modified time.Time
	etag     string
	common   http.Header // what a 304 has too
	fields   http.Header // with what describes the content; without its length
	head     []byte      // fields as they are sent
	head3    []byte      // common as they are sent
}

type cache struct {
	mu    sync.RWMutex
	m     map[string]*entry
	bytes int64
}

// get returns the entry for path if it can be believed. The caller lets go of it with release.
func (c *cache) get(path []byte, now int64) *entry {
	c.mu.RLock()
	e := c.m[string(path)] // does not allocate
	if e != nil {
		e.refs.Add(1)
	}
	c.mu.RUnlock()
	if e == nil {
		return nil
	}
	if now-e.checked.Load() < int64(cacheTime) && e.fresh() {
		return e
	}
	e.release()
	return nil
}

// fresh tells whether no file that e has open has changed.
func (e *entry) fresh() bool {
	for i := range e.variants {
		if v := e.variants[i].Load(); v != nil && v.file != nil {
			if now, ok := stampOf(v.fd); !ok || now != v.stamp {
				return false
			}
		}
	}
	return true
}

// young tells whether a file that e has open may have changed since without a difference in its times.
func (e *entry) young(now int64) bool {
	for i := range e.variants {
		if v := e.variants[i].Load(); v != nil && v.file != nil && now-max(v.stamp.ctime, v.stamp.mtime) <= int64(youngFile) {
			return true
		}
	}
	return false
}

// put keeps e for path, and closes others where there are too many.
func (c *cache) put(path string, e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = map[string]*entry{}
	}
	c.drop(path)
	for other := range c.m { // in no order, which is as good as any that costs nothing
		if len(c.m) < cacheFiles && c.bytes+e.held() <= cacheBytes {
			break
		}
		c.drop(other)
	}
	e.refs.Add(1)
	c.m[path] = e
	c.bytes += e.held()
}

// drop is called with mu locked.
func (c *cache) drop(path string) {
	if e := c.m[path]; e != nil {
		delete(c.m, path)
		c.bytes -= e.held()
		e.release()
	}
}

func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for path := range c.m {
		c.drop(path)
	}
}

// held is what e may have in memory, now or later.
func (e *entry) held() int64 {
	n := int64(1 << 10)
	if e.stamp.size <= smallFile {
		n += e.stamp.size
	}
	if e.gzips {
		n += e.stamp.size // compressed, at most
	}
	return n
}

// release lets go of e.
func (e *entry) release() {
	if e.refs.Add(-1) > 0 {
		return
	}
	for i := range e.variants {
		if v := e.variants[i].Load(); v != nil && v.file != nil {
			v.file.Close()
		}
	}
}

// lookup returns the file that path, of a request, leads to, or nil and what it leads to in place
// of one.
func (s *site) lookup(path string) (*entry, target, error) {
	now := time.Now().UnixNano()
	if e := s.cache.get([]byte(path), now); e != nil {
		return e, target{kind: aFile, file: e.name}, nil
	}
	t, err := s.find(path, true)
	if err != nil || t.kind != aFile {
		return nil, t, err
	}
	if e := s.again(path, t, now); e != nil {
		return e, t, nil
	}
	e, err := s.load(t.file)
	if err != nil {
		return nil, t, err
	}
	if !e.young(now) {
		s.cache.put(path, e)
	}
	return e, t, nil
}

// lookupFolder is lookup, but for that a folder is itself, whether it has an index or not.
func (s *site) lookupFolder(path string) (*entry, target, error) {
	if t, err := s.find(path, false); err != nil || t.kind == aFolder {
		return nil, t, err
	}
	return s.lookup(path)
}

// again returns the entry for path if it turns out that it is still what t is.
func (s *site) again(path string, t target, now int64) *entry {
	s.cache.mu.RLock()
	e := s.cache.m[path]
	if e != nil {
		e.refs.Add(1)
	}
	s.cache.mu.RUnlock()
	if e == nil {
		return nil
	}
	if e.name == t.file && s.same(e) {
		e.checked.Store(now)
		return e
	}
	e.release()
	return nil
}

// same tells whether what e has open is what is there.
func (s *site) same(e *entry) bool {
	f, _, err := s.open(e.name)
	if err != nil {
		return false
	}
	defer f.Close()
	if now, ok := stampOf(descriptor(f)); !ok || now != e.stamp {
		return false
	}
	for enc := range identity {
		v := e.variants[enc].Load()
		found := v != nil && v.file != nil
		info, err := s.sibling(e, enc)
		if (err == nil) != found || found && (info.Size() != v.size || info.ModTime().UnixNano() != v.stamp.mtime) {
			return false
		}
	}
	return e.fresh()
}

var errChanging = errors.New("the file changes while it is read")

// load opens the file name and reads it, if it is small.
func (s *site) load(name string) (*entry, error) {
	f, _, err := s.open(name)
	if err != nil {
		return nil, err
	}
	e := &entry{s: s, name: name, media: mediaType(name, s.o.Types)}
	e.refs.Store(1)
	e.checked.Store(time.Now().UnixNano())
	v := &variant{file: f, fd: descriptor(f)}
	e.variants[identity].Store(v)
	var ok bool
	if v.stamp, ok = stampOf(v.fd); !ok {
		e.release()
		return nil, os.ErrNotExist
	}
	e.stamp = v.stamp
	if v.size = e.stamp.size; v.size <= smallFile {
		v.body = make([]byte, v.size)
		if n, err := f.ReadAt(v.body, 0); err != nil && (err != io.EOF || int64(n) < v.size) {
			e.release()
			if err == io.EOF {
				err = errChanging
			}
			return nil, err
		}
	}
	small := compressible(e.media)
	e.gzips = small && v.size >= gzipLeast
	e.vary = small
	s.siblings(e)
	for i := range e.variants {
		if v := e.variants[i].Load(); v != nil {
			e.describe(v, encoding(i))
		}
	}
	return e, nil
}

// siblings finds what was compressed beforehand: NAME.gz beside NAME, unless it is older.
func (s *site) siblings(e *entry) {
	for enc := range identity {
		if _, err := s.sibling(e, enc); err != nil {
			continue
		}
		f, _, err := s.open(e.name + encodingEnds[enc])
		if err != nil {
			continue
		}
		v := &variant{file: f, fd: descriptor(f)}
		var ok bool
		if v.stamp, ok = stampOf(v.fd); !ok {
			f.Close()
			continue
		}
		v.size = v.stamp.size
		e.vary = true
		e.variants[enc].Store(v)
	}
}

// sibling looks for the compressed form of e.
func (s *site) sibling(e *entry, enc encoding) (fs.FileInfo, error) {
	if path.Ext(e.name) == encodingEnds[enc] {
		return nil, fs.ErrNotExist
	}
	info, err := s.root().Lstat(e.name + encodingEnds[enc])
	if err == nil && (!info.Mode().IsRegular() || info.ModTime().UnixNano() < e.stamp.mtime) {
		err = fs.ErrNotExist
	}
	return info, err
}

// etag names the content of v. It is a strong one: it changes with every change that the system's clock
// for files tells apart, of the plain file and of the one that was compressed beforehand.
func (e *entry) etag(v *variant, enc encoding) string {
	b := append(make([]byte, 0, 64), '"')
	b = e.stamp.appendTag(b)
	if enc != identity {
		b = append(b, '-')
		b = append(b, encodingNames[enc]...)
		if v.file != nil {
			b = append(b, '-')
			b = v.stamp.appendTag(b)
		}
	}
	return string(append(b, '"'))
}

// tags are those of all forms in which e can be had.
func (e *entry) tags() (tags []string) {
	for i := range e.variants {
		if v := e.variants[i].Load(); v != nil {
			tags = append(tags, v.etag)
		} else if encoding(i) == gzipped && e.gzips {
			tags = append(tags, e.etag(&variant{}, gzipped))
		}
	}
	return tags
}

func (s *stamp) appendTag(b []byte) []byte {
	b = strconv.AppendUint(b, uint64(s.mtime), 36)
	b = append(b, '-')
	return strconv.AppendUint(b, uint64(s.size), 36)
}

// describe fills in what is said of v.
func (e *entry) describe(v *variant, enc encoding) {
	o := e.s.o
	v.etag = e.etag(v, enc)
	v.modified = time.Unix(0, v.stamp.mtime)
	v.common = http.Header{"Last-Modified": {v.modified.UTC().Format(dateForm)}, "ETag": {v.etag}}
	if e.vary {
		v.common.Set("Vary", "Accept-Encoding")
	}
	switch age := o.MaxAge; {
	case age > 0:
		v.common.Set("Cache-Control", "max-age="+strconv.FormatInt(int64(age/time.Second), 10))
	case age < 0:
		v.common.Set("Cache-Control", "no-cache")
	}
	v.fields = maps.Clone(v.common)
	v.fields.Set("Content-Type", e.media)
	v.fields.Set("X-Content-Type-Options", "nosniff")
	if enc != identity {
		v.fields.Set("Content-Encoding", encodingNames[enc])
	}
	if v.size >= 0 {
		v.fields.Set("Accept-Ranges", "bytes")
	}
	o.say(v.common)
	o.say(v.fields)
	v.head, v.head3 = render(v.fields), render(v.common)
}

func render(h http.Header) []byte {
	var b bytes.Buffer
	h.Write(&b)
	return b.Bytes()
}

// pick returns the representation that a client likes best.
func (e *entry) pick(accept string) *variant {
	if accept == "" || !e.vary {
		return e.variants[identity].Load()
	}
	var there [encodings]bool
	for i := range e.variants {
		there[i] = e.variants[i].Load() != nil
	}
	there[gzipped] = there[gzipped] || e.gzips && !e.stays.Load()
	enc := choose(accept, there)
	if v := e.variants[enc].Load(); v != nil {
		return v
	}
	return e.compress()
}

// compress makes the representation for gzip: the whole of it, or for a large file the promise of it.
func (e *entry) compress() *variant {
	e.mu.Lock()
	defer e.mu.Unlock()
	if v := e.variants[gzipped].Load(); v != nil {
		return v
	}
	plain := e.variants[identity].Load()
	v := &variant{stamp: e.stamp, size: -1}
	if plain.size <= gzipMost {
		var b bytes.Buffer
		if _, err := squeeze(&b, e.reader(plain)); err != nil || int64(b.Len()) >= plain.size {
			e.stays.Store(true)
			return plain // an error shows when it is read again, to be sent
		}
		v.body, v.size = bytes.Clone(b.Bytes()), int64(b.Len())
	}
	e.describe(v, gzipped)
	e.variants[gzipped].Store(v)
	return v
}

// reader reads all of v.
func (e *entry) reader(v *variant) io.ReadSeeker {
	if v.body != nil {
		return bytes.NewReader(v.body)
	}
	return io.NewSectionReader(v.file, 0, v.size)
}

// squeezers are compressors that wait to be used again: each is about a MiB.
var squeezers sync.Pool

const gzipLevel = 5 // what comes behind costs more time than it saves bytes

func squeeze(w io.Writer, r io.Reader) (int64, error) {
	z, _ := squeezers.Get().(*gzip.Writer)
	if z == nil {
		z, _ = gzip.NewWriterLevel(w, gzipLevel)
	} else {
		z.Reset(w)
	}
	defer squeezers.Put(z)
	n, err := io.Copy(z, r)
	if end := z.Close(); err == nil {
		err = end
	}
	return n, err
}

// An answer is what is sent for a file: status and which parts of v.
type answer struct {
	status int
	v      *variant
	parts  []span // of a 206
}

// answer finds what a GET or HEAD is answered with.
func (e *entry) answer(w *wish, head bool) answer {
	v := e.pick(w.encodings)
	a := answer{status: 200, v: v}
	if w.ifMatch != "" || w.ifNoneMatch != "" || w.ifModified != "" || w.ifUnmodified != "" {
		switch w.judge(v.etag, v.modified) {
		case notModified:
			a.status = 304
			return a
		case conditionFailed:
			a.status = 412
			return a
		}
	}
	if w.ranges == "" || head || v.size < 0 || !w.partial(v.etag, v.modified) {
		return a
	}
	parts, ok := parseRanges(w.ranges, v.size)
	switch {
	case !ok:
		a.status = 416
	case len(parts) > 0:
		a.status, a.parts = 206, parts
	}
	return a
}
