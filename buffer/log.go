package buffer

import (
	"os"
	"sync"
)

// maxLog is the size at which a log begins anew; the one before is kept, so twice this is on disk.
const maxLog = 256 << 10

// A Log is the file that a background daemon writes what it has to say to. Its size is bounded.
type Log struct {
	mu   sync.Mutex
	e    *Entry
	f    *os.File
	size int
}

// Log opens the entry's log. Remove closes it.
func (e *Entry) Log() (*Log, error) {
	f, err := createFile(e.fd, logFile)
	if err != nil {
		return nil, err
	}
	e.log = &Log{e: e, f: f}
	return e.log, nil
}

// File returns the file behind the log as it is now, to give to a child or to the runtime's own
// messages; what goes past Write is not counted.
func (l *Log) File() *os.File {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f
}

// Write appends p, which should be whole lines.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size += len(p); l.size > maxLog {
		if err := renameFile(l.e.fd, logFile, oldLogFile); err == nil {
			if f, err := createFile(l.e.fd, logFile); err == nil {
				l.f.Close()
				l.f = f
			}
		}
		l.size = len(p)
	}
	return l.f.Write(p)
}

func (l *Log) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.f.Close()
}
