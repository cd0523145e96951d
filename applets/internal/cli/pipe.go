package cli

import (
	"os"
	"os/signal"
	"syscall"
)

// diePipe ends the process by SIGPIPE, so that a shell sees what it sees of cat(1). The Go
// runtime keeps the signal for itself and raises it with its default action only when a write to
// descriptor 1 or 2 fails, so such a write is made: to a pipe that has no reader. Returns if that
// cannot be had.
func diePipe() {
	r, w, err := os.Pipe()
	if err != nil {
		return
	}
	r.Close()
	signal.Reset(syscall.SIGPIPE) // it may have been caught, see life.CatchPipe
	syscall.Close(1)
	// dup gives the lowest number that is free. Where somebody was quicker it is another's
	// descriptor, which is not to be written to.
	if fd, err := syscall.Dup(int(w.Fd())); err == nil && fd == 1 {
		os.Stdout.Write([]byte("\n"))
	}
}
