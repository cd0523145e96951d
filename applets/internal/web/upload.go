package web

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
)

// What is uploaded is written to a file of its own in a hidden folder of the root, and moved to its
// name when it is complete: nobody ever sees half of it, and what was there before stays until then.
// Uploads that were cut short by a kill are known by that nobody holds their lock any more.

const (
	staging = ".sockbox-upload"
	maxName = 255 // NAME_MAX of the systems we know
)

// put answers PUT: the body becomes the file. 201 tells that there was none before, 204 that
// there was (RFC 9110, 9.3.4).
func (s *Server) put(w *response, r *http.Request, at *site, raw string) {
	parts, slash, err := splitPath(raw, false)
	switch {
	case err != nil:
		s.fail(w, r, at, statusOf(err), "")
		return
	case slash:
		s.fail(w, r, at, http.StatusConflict, "that is a folder")
		return
	case r.Header.Get("Content-Range") != "":
		s.fail(w, r, at, http.StatusBadRequest, "a part of a file cannot be put") // RFC 9110, 14.5
		return
	}
	folder, status := at.uploadTo(parts)
	if status != 0 {
		s.fail(w, r, at, status, "")
		return
	}
	name := path.Join(folder, parts[len(parts)-1])
	check := func() int { return at.condition(r.Header, name) }
	if status := check(); status != 0 {
		s.fail(w, r, at, status, "")
		return
	}
	s.bound(w, r)
	created, err := at.save(r.Body, name, true, check)
	switch {
	case err != nil:
		s.failUpload(w, r, at, err)
	case created:
		w.Header().Set("Location", "/"+escapeName(strings.Join(parts, "/"), true))
		w.WriteHeader(http.StatusCreated)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// form answers the form of a listing: each of its files goes into the folder, and none replaces
// another.
func (s *Server) form(w *response, r *http.Request, at *site, t target) {
	// A page of somebody else's must not have a browser send files here with its user's password.
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		s.fail(w, r, at, http.StatusForbidden, "the form is another site's")
		return
	}
	s.bound(w, r)
	refuse := func(status int, why string) {
		s.fail(w, r, at, status, why)
		w.letBodyGo(r)
	}
	m, err := r.MultipartReader()
	if err != nil {
		refuse(http.StatusUnsupportedMediaType, "")
		return
	}
	var at2 []string
	if t.file != "." {
		at2 = strings.Split(t.file, "/")
	}
	saved := 0
	for {
		part, err := m.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			s.failUpload(w, r, at, err)
			return
		}
		name := part.FileName() // without folders: mime/multipart sees to that
		if part.FormName() != "file" || name == "" {
			continue
		}
		if name == "." || name == ".." || name[0] == '.' || strange(name) || len(name) > maxName {
			refuse(http.StatusForbidden, fmt.Sprintf("%q cannot be a name here", name))
			return
		}
		folder, status := at.uploadTo(append(at2[:len(at2):len(at2)], name))
		if status != 0 {
			refuse(status, "")
			return
		}
		if _, err := at.save(part, path.Join(folder, name), false, func() int { return 0 }); err != nil {
			s.failUpload(w, r, at, err)
			return
		}
		saved++
	}
	if saved == 0 {
		refuse(http.StatusBadRequest, "no file was sent")
		return
	}
	w.Header().Set("Location", r.URL.EscapedPath())
	w.WriteHeader(http.StatusSeeOther)
}

func (s *Server) failUpload(w *response, r *http.Request, at *site, err error) {
	var large *http.MaxBytesError
	var refused refusal
	status, why := http.StatusInternalServerError, ""
	switch {
	case errors.As(err, &large):
		status = http.StatusRequestEntityTooLarge
	case errors.As(err, &refused):
		status = int(refused)
	case errors.Is(err, fs.ErrExist), errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ENOTDIR):
		status, why = http.StatusConflict, "there is one of that name"
	case errors.Is(err, os.ErrDeadlineExceeded):
		status = http.StatusRequestTimeout
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		status = http.StatusInsufficientStorage
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		status = http.StatusForbidden
	case errors.Is(err, io.ErrUnexpectedEOF):
		status = http.StatusBadRequest
	}
	if status >= 500 {
		s.o.Tell("upload: %v", err)
	}
	// What is left of the body is nobody's business.
	w.Header().Set("Connection", "close")
	s.fail(w, r, at, status, why)
	w.letBodyGo(r)
}

// A refusal is a status that was found while something was saved.
type refusal int

func (r refusal) Error() string { return http.StatusText(int(r)) }

// uploadTo returns the folder, without links, for the file that parts name, or the status to refuse with.
// Nothing becomes a program by being uploaded.
func (s *site) uploadTo(parts []string) (folder string, status int) {
	name := parts[len(parts)-1]
	switch {
	case len(name) > maxName:
		return "", http.StatusBadRequest
	case s.inCGI("/"+strings.Join(parts, "/")) || s.isPHP(name):
		return "", http.StatusForbidden
	}
	at, err := s.walk(parts[:len(parts)-1])
	switch {
	case err != nil:
		return "", statusOf(err)
	case at.info == nil || !at.info.IsDir():
		return "", http.StatusConflict // RFC 9110 leaves it to us; WebDAV (RFC 4918, 9.7.1) says this
	case s.inCGI("/" + path.Join(at.file, name)):
		return "", http.StatusForbidden
	}
	return at.file, 0
}

// condition evaluates If-Match and If-None-Match for what is now called name. A client knows the file by
// the tag of that form of it which it was given, so each of them stands for it.
func (s *site) condition(h http.Header, name string) int {
	match, none := joined(h, "If-Match"), joined(h, "If-None-Match")
	if match == "" && none == "" {
		return 0
	}
	var tags []string
	if e, err := s.load(name); err == nil {
		tags = e.tags()
		e.release()
	}
	matches := func(tag string) bool { return listed(match, tag, true) }
	known := func(tag string) bool { return listed(none, tag, false) }
	if match != "" && !slices.ContainsFunc(tags, matches) || none != "" && slices.ContainsFunc(tags, known) {
		return http.StatusPreconditionFailed
	}
	return 0
}

// save writes r to the file name below the root. With replace it takes the place of a file that is
// there. check is asked once more when all is written. Of two that save the same at the same
// time, each is whole.
func (s *site) save(r io.Reader, name string, replace bool, check func() int) (created bool, err error) {
	var id [12]byte
	rand.Read(id[:])
	part := path.Join(staging, hex.EncodeToString(id[:]))
	root := s.root()
	f, err := stage(root, part)
	if err != nil {
		return false, err
	}
	defer func() {
		f.Close()
		root.Remove(part) // unless it was moved
		root.Remove(staging)
	}()
	if err := syscall.Flock(descriptor(f), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return false, err
	}
	if _, err := io.Copy(struct{ io.Writer }{f}, r); err != nil {
		return false, err
	}
	if err := f.Sync(); err != nil {
		return false, err
	}
	if status := check(); status != 0 {
		return false, refusal(status)
	}
	was, err := root.Lstat(name)
	created = errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !created:
		return false, err
	case err == nil && was.IsDir():
		return false, syscall.EISDIR
	case err == nil && !was.Mode().IsRegular() && was.Mode()&fs.ModeSymlink == 0:
		return false, fs.ErrPermission // a device or a FIFO is not ours to replace
	}
	if replace {
		return created, root.Rename(part, name)
	}
	return true, root.Link(part, name) // fails if there is one
}

// stage makes the file part, and the folder for it.
func stage(root *os.Root, part string) (f *os.File, err error) {
	for range 10 { // whoever is done meanwhile takes the folder away
		if err := root.Mkdir(staging, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		info, err := root.Lstat(staging)
		if err == nil && !info.IsDir() {
			return nil, fmt.Errorf("%s: %w", staging, syscall.ENOTDIR)
		}
		f, err = root.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	return nil, fmt.Errorf("%s: %w", staging, fs.ErrNotExist)
}

// sweep removes uploads that were never finished.
func (s *site) sweep() {
	root := s.root()
	f, err := root.Open(staging)
	if err != nil {
		return
	}
	names, _ := f.Readdirnames(-1)
	f.Close()
	for _, name := range names {
		name = path.Join(staging, name)
		f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		if syscall.Flock(descriptor(f), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			root.Remove(name)
		}
		f.Close()
	}
	root.Remove(staging)
}
