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
	var told map[string]bool
	first := true
	for ctx.Err() == nil {
		var failed bool
		failed, told = look(stop, base, dirs, jobs, told)
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

// look makes the jobs what the files say. It tells whether one is to be tried again, and what it has said
// of files that it could not look at, told being what it said the last time: their jobs stay as they are.
func look(stop *life.Stop, base *Job, dirs []string, jobs map[string]*watched, told map[string]bool) (failed bool, unseen map[string]bool) {
	type file struct {
		text []byte
		err  error // why it cannot be read
	}
	there := map[string]file{}
	unseen = map[string]bool{}
	later := func(path string, err error) {
		text := fmt.Sprintf("%s: %v; looking again", path, sock.Reason(err))
		if !told[text] {
			base.Log("%s", text)
		}
		unseen[text], failed = true, true
	}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			later(dir, err)
			for path, w := range jobs { // which may be there still
				if filepath.Dir(path) == filepath.Clean(dir) {
					there[path] = file{text: w.text}
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
				if w := jobs[path]; w != nil {
					there[path] = file{text: w.text}
				}
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
	return failed, unseen
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
