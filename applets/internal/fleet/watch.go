package fleet

import (
	"slices"
)

// watch has files that come into the directory join, and stops those whose file goes. It returns when
// the master is to end.
func (m *master) watch() error {
	changes, stop, err := changes(m.Dir)
	if err != nil {
		return err
	}
	defer stop()
	for {
		files, err := m.list()
		if err != nil {
			return err
		}
		m.mu.Lock()
		var come []string
		for _, name := range files {
			if m.daemons[name] == nil && !m.over[name] {
				come = append(come, name)
			}
		}
		for name, d := range m.daemons {
			if !slices.Contains(files, name) {
				d.stop(errFileGone)
			}
		}
		for name := range m.over {
			if !slices.Contains(files, name) {
				delete(m.over, name) // should it come again, it is another one
			}
		}
		m.mu.Unlock()
		if err := m.add(come); err != nil {
			return err
		}
		select {
		case <-changes:
		case <-m.ctx.Done():
			return nil
		}
	}
}
