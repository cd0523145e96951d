package launch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

// A watching is what Watch knows of its directories.
type watching struct {
	stop *life.Stop
	base *Job
	dirs []string
	jobs map[string]*watched // by the file's path
	told map[string]bool     // what has been said about files that could not be looked at, the last time
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
	w := &watching{stop: stop, base: base, dirs: dirs, jobs: map[string]*watched{}}
	first := true
	for ctx.Err() == nil {
		failed := w.look()
		if first {
			var socks []*sock.Bound
			for _, one := range w.jobs {
				if one.active != nil {
					socks = append(socks, one.active.socks...)
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
	for _, one := range w.jobs {
		if one.active != nil {
			<-one.done
		}
	}
	return life.StopAll(base.KillTimeout, stop.Hurry())
}

// look makes the jobs what the files say. It tells whether one is to be tried again.
func (w *watching) look() (failed bool) {
	there, failed := w.files()
	// What goes goes first: a new job may want its port.
	var ending sync.WaitGroup
	for path, one := range w.jobs {
		now, ok := there[path]
		if ok && bytes.Equal(now.text, one.text) {
			continue
		}
		delete(w.jobs, path)
		if one.active != nil {
			one.cancel()
			ending.Go(func() { <-one.done })
			w.base.Note("%s: stopped", path)
		}
	}
	ending.Wait()
	for path, now := range there {
		one := w.jobs[path]
		if one != nil && (one.active != nil || one.failed == "") {
			continue
		}
		if one == nil {
			one = &watched{text: now.text}
			w.jobs[path] = one
		}
		if now.err != nil {
			w.base.Log("%s: %v", path, sock.Reason(now.err)) // until it can be
			continue
		}
		if !w.begin(path, one) {
			failed = true
		}
	}
	return failed
}

// A confFile is a file that was looked at.
type confFile struct {
	text []byte
	err  error // why it cannot be read
}

// files reads what is in the directories. What cannot be looked at just now is as it was, and failed tells
// that it is to be looked at again.
func (w *watching) files() (there map[string]confFile, failed bool) {
	there = map[string]confFile{}
	told := map[string]bool{}
	later := func(path string, err error) {
		text := fmt.Sprintf("%s: %v; looking again", path, sock.Reason(err))
		if !w.told[text] {
			w.base.Log("%s", text)
		}
		told[text], failed = true, true
	}
	for _, dir := range w.dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			later(dir, err)
			for path, one := range w.jobs {
				if filepath.Dir(path) == filepath.Clean(dir) {
					there[path] = confFile{text: one.text}
				}
			}
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if !strings.HasSuffix(path, ".conf") || strings.HasPrefix(e.Name(), ".") {
				continue
			}
			text, err := readConf(path)
			switch {
			case errors.Is(err, os.ErrNotExist):
			case life.Lacking(err):
				later(path, err)
				if one := w.jobs[path]; one != nil {
					there[path] = confFile{text: one.text}
				}
			case err != nil:
				there[path] = confFile{err: err}
			case len(text) > 0: // an empty one is about to be written
				there[path] = confFile{text: text}
			}
		}
	}
	w.told = told
	return there, failed
}

// begin has a file's job listen. It tells false where that is to be tried again.
func (w *watching) begin(path string, one *watched) bool {
	j, err := confJob(quietAgain(w.base, one), path, one.text)
	switch wrong := (*ConfError)(nil); {
	case errors.Is(err, ErrNoSocket):
		w.base.Note("%s: %v", path, ErrNoSocket)
		return true
	case errors.As(err, &wrong):
		w.base.Log("%v", err) // until the file is another one
		return true
	}
	j.Log = w.base.Log
	a, err := j.open(w.stop.Context())
	if err != nil {
		if one.failed != err.Error() && w.stop.Context().Err() == nil {
			w.base.Log("%s: %v", path, err)
		}
		one.failed = err.Error()
		return false
	}
	one.active, one.failed, one.done = a, "", make(chan struct{})
	ctx, cancel := context.WithCancel(w.stop.Context())
	one.cancel = cancel
	for _, s := range a.socks {
		w.base.Note("%s: listening on %s", path, s.Name())
	}
	go func() {
		defer close(one.done)
		defer cancel()
		if err := a.serve(ctx, w.stop.Hurry()); err != nil {
			w.base.Log("%s: %v", path, err)
		}
	}()
	return true
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
