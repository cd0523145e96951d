package web

import (
	"archive/zip"
	"errors"
	"io"
	"net/http"
	"path"
	"strings"
)

// maxZipped is how many files one archive may have: its directory is kept until the end.
const maxZipped = 100000

var errTooMany = errors.New("too many files")

// sendZip answers with the folder t as an archive, made while it is sent: all that a listing would
// show in it and below, but for links to folders.
func (s *Server) sendZip(w *response, r *http.Request, at *site, t target) {
	name := path.Base(t.file)
	if name == "." {
		name = "files"
	}
	h := w.Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Content-Disposition", "attachment; filename*=UTF-8''"+escapeName(shown(name), false)+".zip")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.Method == http.MethodHead {
		return
	}
	select {
	case s.zips <- struct{}{}:
		defer func() { <-s.zips }()
	default:
		h.Del("Content-Disposition")
		h.Set("Retry-After", "10")
		s.fail(w, r, at, http.StatusServiceUnavailable, "")
		return
	}
	// Not by ReadFrom, which would let the archive's small pieces out one by one.
	z := zip.NewWriter(struct{ io.Writer }{w})
	n := 0
	err := at.zip(r, z, t.file, name, &n)
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		if r.Context().Err() == nil {
			s.o.Tell("%s: zip: %v", t.file, err)
		}
		panic(http.ErrAbortHandler)
	}
}

func (s *site) zip(r *http.Request, z *zip.Writer, folder, prefix string, n *int) error {
	list, more, err := s.items(folder)
	if err != nil {
		return err
	}
	if *n += len(list); more || *n > maxZipped {
		return errTooMany
	}
	order{by: "name"}.sort(list)
	for _, it := range list {
		if err := r.Context().Err(); err != nil {
			return err
		}
		inside := path.Join(folder, it.name)
		info, err := s.root().Lstat(inside)
		if err != nil {
			continue // it went away
		}
		head := &zip.FileHeader{Name: prefix + "/" + it.name, Modified: it.time, Method: zip.Store}
		if it.folder {
			if !info.IsDir() || s.inCGI("/"+inside) {
				continue
			}
			head.Name += "/"
			if _, err := z.CreateHeader(head); err != nil {
				return err
			}
			if err := s.zip(r, z, inside, prefix+"/"+it.name, n); err != nil {
				return err
			}
			continue
		}
		if s.inCGI("/"+inside) || s.isPHP(inside) {
			continue // programs are run, and not shown
		}
		to, err := s.walk(strings.Split(inside, "/"))
		if err != nil || to.info == nil || to.info.IsDir() || s.inCGI("/"+to.file) || s.isPHP(to.file) {
			continue
		}
		f, _, err := s.open(to.file)
		if err != nil {
			continue
		}
		if compressible(mediaType(inside, s.o.Types)) {
			head.Method = zip.Deflate
		}
		w, err := z.CreateHeader(head)
		if err == nil {
			_, err = io.Copy(w, f)
		}
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
