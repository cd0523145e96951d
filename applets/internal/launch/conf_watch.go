package launch

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"sockbox/applets/internal/life"
	"sockbox/applets/internal/sock"
)

// tryAgain is when a job that could not listen is tried again, as one whose port is still another's.
const tryAgain = 2 * time.Second

// A watched is one job of a directory.
type watched struct {
	text   []byte // of its file
	active *active
	cancel context.CancelFunc
	done   chan struct{}
	failed string // why it does not listen
}

// Watch serves the job files of directories, FILE.conf each: a file that comes is a job more, one that
// goes is a job less, and one that changes is another job. A file that is wrong is told of, and is no
// job; so is one that no socket starts. ready is called when those listen that can. It returns when
// stop is asked for and every program is gone.
func Watch(stop *life.Stop, base *Job, dirs []string, ready func([]*sock.Bound) error) error {
	ctx := stop.Context()
	changed := make(chan struct{}, 1)
	for _, dir := range dirs {
		one, end, err := life.Changes(dir)
		if err != nil {
			return err
		}
		defer end()
		go func() {
			for range one {
				select {
				case changed <- struct{}{}:
				default:
				}
			}
		}()
	}
	jobs := map[string]*watched{}
	first := true
	for ctx.Err() == nil {
		failed := look(stop, base, dirs, jobs)
		if first {
			var socks []*sock.Bound
			for _, w := range jobs {
				if w.active != nil {
					socks = append(socks, w.active.socks...)
				}
			}
			if err := ready(socks); err != nil {
				base.Log("%v", err)
				stop.Ask(false)
			}
			first = false
		}
		var again <-chan time.Time
		if failed {
			again = time.After(tryAgain)
		}
		select {
		case <-changed:
		case <-again:
		case <-ctx.Done():
		}
	}
	for _, w := range jobs {
		if w.active != nil {
			<-w.done
		}
	}
	return life.StopAll(base.KillTimeout, stop.Hurry())
}

// look makes the jobs what the files say. It tells whether one is to be tried again.
func look(stop *life.Stop, base *Job, dirs []string, jobs map[string]*watched) (failed bool) {
	type file struct {
		text []byte
		err  error // why it cannot be read
	}
	there := map[string]file{}
	for _, dir := range dirs {
		names, err := filepath.Glob(filepath.Join(escapeGlob(dir), "*.conf"))
		if err != nil {
			base.Log("%s: %v", dir, err)
		}
		for _, path := range names {
			if strings.HasPrefix(filepath.Base(path), ".") {
				continue
			}
			text, err := readConf(path)
			switch {
			case errors.Is(err, os.ErrNotExist):
			case err != nil:
				there[path] = file{err: err}
			case len(text) > 0: // an empty one is about to be written
				there[path] = file{text: text}
			}
		}
	}
	// What goes goes first: a new job may want its port.
	var ending sync.WaitGroup
	for path, w := range jobs {
		now, ok := there[path]
		if ok && bytes.Equal(now.text, w.text) {
			continue
		}
		delete(jobs, path)
		if w.active != nil {
			w.cancel()
			ending.Go(func() { <-w.done })
			base.Note("%s: stopped", path)
		}
	}
	ending.Wait()
	for path, now := range there {
		w := jobs[path]
		if w != nil && (w.active != nil || w.failed == "") {
			continue
		}
		if w == nil {
			w = &watched{text: now.text}
			jobs[path] = w
		}
		if now.err != nil {
			base.Log("%s: %v", path, sock.Reason(now.err)) // until it can be
			continue
		}
		j, err := confJob(quietAgain(base, w), path, now.text)
		switch wrong := (*ConfError)(nil); {
		case errors.Is(err, ErrNoSocket):
			base.Note("%s: %v", path, ErrNoSocket)
			continue
		case errors.As(err, &wrong):
			base.Log("%v", err) // until the file is another one
			continue
		}
		j.Log = base.Log
		a, err := j.open(stop.Context())
		if err != nil {
			if w.failed != err.Error() && stop.Context().Err() == nil {
				base.Log("%s: %v", path, err)
			}
			w.failed, failed = err.Error(), true
			continue
		}
		w.active, w.failed, w.done = a, "", make(chan struct{})
		ctx, cancel := context.WithCancel(stop.Context())
		w.cancel = cancel
		for _, s := range a.socks {
			base.Note("%s: listening on %s", path, s.Name())
		}
		go func() {
			defer close(w.done)
			defer cancel()
			if err := a.serve(ctx, stop.Hurry()); err != nil {
				base.Log("%s: %v", path, err)
			}
		}()
	}
	return failed
}

// quietAgain has what was told about a file not told again when it is tried again.
func quietAgain(base *Job, w *watched) *Job {
	if w.failed == "" {
		return base
	}
	j := *base
	j.Log = func(string, ...any) {}
	return &j
}

// escapeGlob takes the meaning from the characters of a pattern.
func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}
