package fleet

import (
	"os"
	"time"

	"sockbox/applets/internal/life"
)

// askAgain is when the pool is asked for a daemon again that it had no room for; whenever one of ours
// ends it is asked as well.
const askAgain = 2 * time.Second

// watch has files that come into the directory join, and stops those whose file goes, or is another one
// now: that one is started when the old one has ended. It returns when the master is to end.
func (m *master) watch() error {
	changes, stop, err := life.Changes(m.Dir)
	if err != nil {
		return &HereError{err}
	}
	defer stop()
	for {
		files, err := m.list()
		m.refused = life.Lacking(err)
		switch {
		case m.refused: // what there is stays
			m.Log("%v; looking again", err)
		case err != nil:
			return err
		default:
			if err := m.add(m.compare(files)); err != nil {
				return err
			}
		}
		var again <-chan time.Time
		if m.refused {
			again = time.After(askAgain)
		}
		select {
		case <-again:
		case <-changes:
		case <-m.left:
		case <-m.ctx.Done():
			return nil
		}
	}
}

// compare returns which of the files have no daemon yet, and stops the daemons that have no file.
func (m *master) compare(files []*daemon) (come []*daemon) {
	m.mu.Lock()
	defer m.mu.Unlock()
	there := map[string]os.FileInfo{}
	for _, f := range files {
		there[f.file] = f.info
		over := m.over[f.file]
		if m.daemons[f.file] == nil && (over == nil || !os.SameFile(over, f.info)) {
			come = append(come, f)
		}
	}
	for name, d := range m.daemons {
		if fi := there[name]; fi == nil || !os.SameFile(fi, d.info) {
			d.stop(errFileGone)
		}
	}
	for name := range m.over {
		if there[name] == nil {
			delete(m.over, name)
		}
	}
	return come
}
