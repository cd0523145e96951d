package life

import (
	"os"
	"syscall"
)

// Exec puts a program in the place of this process: args[0], looked up as Start does, which keeps
// the environment, the working directory and those descriptors that were inherited. It returns only
// if that fails; the error wraps ErrNotFound or ErrCannotRun if it is the program's.
func Exec(args []string) error {
	path, err := LookUp(args[0])
	if err != nil {
		return err
	}
	return cannotStart(path, "", syscall.Exec(path, args, os.Environ()))
}
