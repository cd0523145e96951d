package web

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"sockbox/applets/internal/sock"
)

// A site is a folder that is served: what a path of a request means in it.
type site struct {
	o      *Options
	top    atomic.Pointer[os.Root]
	looked atomic.Int64 // when the way to it was last looked at, in nanoseconds
	dir    string       // its absolute path
	cache  cache
}

func openSite(dir string, o *Options) (*site, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, sock.Reason(err))
	}
	s := &site{o: o, dir: abs}
	s.top.Store(root)
	return s, nil
}

// root is the folder. One that has taken its place, as those do who make a site anew, is found within
// a second. The one before is closed when nobody has it any more: os.Root sees to that.
func (s *site) root() *os.Root {
	top, now := s.top.Load(), time.Now().UnixNano()
	if last := s.looked.Load(); now-last < int64(cacheTime) || !s.looked.CompareAndSwap(last, now) {
		return top
	}
	there, err := os.Stat(s.dir)
	if err != nil {
		return top
	}
	if here, err := top.Stat("."); err == nil && os.SameFile(here, there) {
		return top
	}
	if again, err := os.OpenRoot(s.dir); err == nil {
		s.top.Store(again)
		return again
	}
	return top
}

func (s *site) close() {
	s.cache.clear()
	s.top.Load().Close()
}

// What a path leads to.
type kind int

const (
	nothing   kind = iota // 404: it is not there, or not for anybody to see
	forbidden             // 403: it is there, and not shown
	aFile
	aFolder
	aScript
	elsewhere // the path with a slash behind it
)

// A target is what a path of a request leads to.
type target struct {
	kind   kind
	file   string // where it is below the root, without links: "." is the root
	info   fs.FileInfo
	script script // of aScript
}

// find looks for what raw, the path of a request, leads to; with index the index of a folder stands for
// it. An error is errBadPath or errHiddenPath, or what the system said of a file that may not be read.
func (s *site) find(raw string, index bool) (target, error) {
	parts, slash, err := splitPath(raw, s.o.WellKnown)
	if err != nil {
		return target{}, err
	}
	at, err := s.walk(parts)
	if err != nil {
		return target{}, err
	}
	url := "/" + strings.Join(parts[:len(parts)-len(at.rest)], "/")
	cgi := s.inCGI(url)
	switch {
	case at.info == nil:
		return target{}, nil
	case at.info.IsDir():
		if !slash {
			return target{kind: elsewhere}, nil
		}
		return s.folder(parts, at, url, index)
	}
	info := strings.Join(at.rest, "/")
	if len(at.rest) > 0 || slash {
		info = "/" + info
		if slash && len(at.rest) > 0 {
			info += "/"
		}
	}
	return s.file(at, url, info, cgi), nil
}

// file is the target for the regular file at, by the path url, with info behind it.
func (s *site) file(at place, url, info string, cgi bool) target {
	t := target{file: at.file, info: at.info}
	php := s.isPHP(at.file) || s.isPHP(url)
	switch {
	case cgi && !php && at.info.Mode()&0o111 == 0:
		t.kind = forbidden // a program's text or data: never shown
	case cgi || php:
		t.kind = aScript
		t.script = script{dir: s.dir, file: at.file, info: at.info, name: url, pathInfo: info, php: php}
	case info == "":
		t.kind = aFile
	default:
		t.kind = nothing
	}
	return t
}

// folder is the target for the folder at: with index the one it has, or else itself.
func (s *site) folder(parts []string, at place, url string, index bool) (target, error) {
	cgi := s.inCGI(url)
	var names []string
	if index {
		names = s.indexes()
	}
	for _, name := range names {
		index, err := s.walk(append(parts[:len(parts):len(parts)], name))
		if err != nil {
			return target{}, err
		}
		if index.info != nil && !index.info.IsDir() {
			return s.file(index, path.Join(url, name), "", cgi), nil
		}
	}
	if cgi {
		return target{kind: forbidden}, nil
	}
	return target{kind: aFolder, file: at.file, info: at.info}, nil
}

func (s *site) indexes() []string {
	if s.o.Dynamic.PHP != "" {
		return append([]string{"index.php"}, s.o.Index...)
	}
	return s.o.Index
}

// inCGI tells whether url, a path that is decoded, is below one of the prefixes for programs.
func (s *site) inCGI(url string) bool {
	for _, prefix := range s.o.Dynamic.CGI {
		if strings.HasPrefix(url+"/", prefix) {
			return true
		}
	}
	return false
}

func (s *site) isPHP(name string) bool {
	if s.o.Dynamic.PHP == "" {
		return false
	}
	ext := strings.ToLower(path.Ext(name))
	if len(s.o.Dynamic.PHPExt) == 0 {
		return ext == ".php"
	}
	for _, e := range s.o.Dynamic.PHPExt {
		if ext == e {
			return true
		}
	}
	return false
}

// A place is where a walk ended.
type place struct {
	file string      // without links, "." for the root
	info fs.FileInfo // a folder's or a regular file's; nil: there is nothing to show
	rest []string    // the names behind a regular file
}

// maxLinks is how many links a path may have on its way, as in Linux (path_resolution(7)).
const maxLinks = 40

// walk follows names from the root to a folder or a regular file. It reads links itself, though an
// os.Root would not let them lead out: a link to a name with a dot would otherwise show what that name
// hides. Links with absolute paths lead nowhere.
func (s *site) walk(names []string) (place, error) {
	at := place{file: "."}
	todo := names
	behind := len(names) // how many of todo are the request's own, not a link's
	links := 0
	root := s.root()
	info, err := root.Lstat(".")
	if err != nil {
		return place{}, gone(err)
	}
	for len(todo) > 0 {
		if info.Mode().IsRegular() {
			if len(todo) > behind {
				return place{}, nil // a link to FILE/NAME
			}
			at.rest = todo
			break
		}
		name := todo[0]
		todo = todo[1:]
		behind = min(behind, len(todo))
		if name == ".." { // in a link; splitPath lets none through
			if at.file == "." {
				return place{}, nil
			}
			at.file = path.Dir(at.file)
			if info, err = root.Lstat(at.file); err != nil {
				return place{}, gone(err)
			}
			continue
		}
		next := path.Join(at.file, name)
		if info, err = root.Lstat(next); err != nil {
			return place{}, gone(err)
		}
		switch mode := info.Mode(); {
		case mode.IsDir(), mode.IsRegular():
			at.file = next
		case mode&fs.ModeSymlink != 0:
			text, err := root.Readlink(next)
			if err != nil {
				return place{}, gone(err)
			}
			if links++; links > maxLinks || !linkShown(text) {
				return place{}, nil
			}
			todo = append(linkNames(text), todo...)
			if info, err = root.Lstat(at.file); err != nil {
				return place{}, gone(err)
			}
		default: // devices, FIFOs and sockets
			return place{}, nil
		}
	}
	at.info = info
	return at, nil
}

func linkNames(text string) []string {
	var names []string
	for name := range strings.SplitSeq(text, "/") {
		if name != "" && name != "." {
			names = append(names, name)
		}
	}
	return names
}

// linkShown tells whether a link may be followed: not to another root, nor by a hidden name.
func linkShown(text string) bool {
	if strings.HasPrefix(text, "/") {
		return false
	}
	for _, name := range linkNames(text) {
		if name != ".." && name[0] == '.' {
			return false
		}
	}
	return true
}

// gone turns what the system says of a path that leads nowhere into nil: the place is empty then.
// What may not be looked at, and what is broken, remains an error.
func gone(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENAMETOOLONG),
		errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.EINVAL):
		return nil
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EIO), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return err
	}
	return nil // as os.Root says that a path escapes, which is no system's error
}

// open opens the regular file at name, which walk found. That it still is one is looked at again:
// somebody may have put a FIFO there, and opening that would wait.
func (s *site) open(name string) (*os.File, fs.FileInfo, error) {
	f, err := s.root().OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}
