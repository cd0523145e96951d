package life

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// concealed is how this program is started again: with which arguments, and which descriptors they
// name.
var concealed struct {
	args []string // nil: our own
	fds  []int
}

// ConcealOperand keeps a secret that an operand gives, counted from the end (1 is the last one), out of
// the arguments of the process that Background or Guard starts: they say "fd:N" in its place, where the
// secret is the first line. Everybody on the machine can see arguments.
func ConcealOperand(fromEnd int, secret []byte) error {
	return conceal(secret, func(args []string, fd string) { args[len(args)-fromEnd] = fd })
}

// ConcealFlag is ConcealOperand for the value of a flag, given as --NAME VALUE or --NAME=VALUE.
func ConcealFlag(name string, secret []byte) error {
	return conceal(secret, func(args []string, fd string) {
		for i, a := range args {
			if a == "--"+name && i+1 < len(args) {
				args[i+1] = fd
			} else if strings.HasPrefix(a, "--"+name+"=") {
				args[i] = "--" + name + "=" + fd
			}
		}
	})
}

func conceal(secret []byte, replace func(args []string, fd string)) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	defer w.Close()
	// It is short, and so waits in the pipe. The descriptor has no mark to be closed: it is for
	// the next process, and this one starts no other.
	if _, err := w.Write(append(secret[:len(secret):len(secret)], '\n')); err != nil {
		return err
	}
	fd, err := syscall.Dup(int(r.Fd()))
	if err != nil {
		return os.NewSyscallError("dup", err)
	}
	concealed.args = slices.Clone(arguments())
	concealed.fds = append(concealed.fds, fd)
	replace(concealed.args, "fd:"+strconv.Itoa(fd))
	return nil
}

// arguments are those to start this program again with.
func arguments() []string {
	if concealed.args != nil {
		return concealed.args
	}
	return os.Args
}
