package life

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// stageVariable tells this program that it is the last step before another one, which takes its place:
// "PIPE LIMITS VARIABLES PATH". It is taken out of the environment.
const stageVariable = "SOCKBOX_STAGE"

// What a process can only do for itself, after it was made and before its program runs, is done by this
// program run again: in Go there is no code of ours between fork and exec. It costs one more exec, and
// so is for those commands only that ask for it.
//
// A limit that was set from outside, with prlimit(2), would come too late for a program that forks at
// once; and set in our own process, for a moment, it would be ours.

// A Limit bounds what a process may use, as setrlimit(2) says; it is for the soft and the hard limit.
type Limit struct {
	Name  string // cpu (seconds), as (bytes of memory), nofile (descriptors) and others, see LimitNames
	Value uint64
}

// ParseLimit reads NAME=VALUE; a value may end in K, M, G or T for powers of 1024.
func ParseLimit(s string) (Limit, error) {
	name, text, ok := strings.Cut(s, "=")
	if !ok || !slices.Contains(LimitNames(), name) {
		return Limit{}, fmt.Errorf("%q is not a limit, such as cpu=10, as=512M or nofile=64", s)
	}
	digits, shift := text, 0
	if n := len(text); n > 0 {
		if i := strings.IndexByte("KMGT", text[n-1]&^0x20); i >= 0 && text[n-1] >= 'A' {
			digits, shift = text[:n-1], 10*(i+1)
		}
	}
	v, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || v > 1<<62>>shift {
		return Limit{}, fmt.Errorf("%s: %q is not a number, such as 64 or 512M", name, text)
	}
	return Limit{name, v << shift}, nil
}

func (l Limit) String() string { return l.Name + "=" + strconv.FormatUint(l.Value, 10) }

// stage has cmd started by way of this program. done is called after the start: it waits until the
// program has taken our place, and returns why if it did not.
func (cmd *Command) stage(path string) (by Command, done func(error) error, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return Command{}, nil, err
	}
	self, err := ourselves()
	if err != nil {
		r.Close()
		w.Close()
		return Command{}, nil, err
	}
	by = *cmd
	by.Path = self
	by.Extra = append(cmd.Extra[:len(cmd.Extra):len(cmd.Extra)], w)
	if by.Env == nil {
		by.Env = os.Environ()
	}
	var limits []string
	for _, l := range cmd.Limits {
		limits = append(limits, l.String())
	}
	list := func(words []string) string { return strings.Join(append(words, "-"), ",") }
	by.Env = append(by.Env[:len(by.Env):len(by.Env)], fmt.Sprintf("%s=%d %s %s %s",
		stageVariable, 2+len(by.Extra), list(limits), list(cmd.PIDVariables), path))
	if len(by.Args) == 0 {
		by.Args = []string{cmd.Path}
	}
	return by, func(started error) error {
		defer r.Close()
		w.Close()
		if started != nil {
			return started
		}
		said, err := io.ReadAll(io.LimitReader(r, 64))
		if err != nil || len(said) == 0 {
			return err
		}
		what, code, _ := strings.Cut(string(said), " ")
		errno, _ := strconv.Atoi(code)
		if what != "exec" {
			return fmt.Errorf("--limit %s: %w", what, syscall.Errno(errno))
		}
		return cannotStart(path, cmd.Dir, syscall.Errno(errno))
	}, nil
}

// ourselves is this program, for a child that may be another user's: it need not be allowed to go
// through the directories that lead here.
func ourselves() (string, error) {
	if runtime.GOOS == "linux" {
		return "/proc/self/exe", nil
	}
	return os.Executable()
}

// Stage does the last step where this process is one, and does not return then. It is called before
// anything else.
func Stage() {
	what := os.Getenv(stageVariable)
	if what == "" {
		return
	}
	os.Unsetenv(stageVariable)
	words := strings.SplitN(what, " ", 4)
	pipe, err := strconv.Atoi(words[0])
	if err != nil || len(words) < 4 || pipe < 3 {
		return
	}
	syscall.CloseOnExec(pipe)
	for name := range strings.SplitSeq(words[2], ",") {
		if name != "-" {
			os.Setenv(name, strconv.Itoa(os.Getpid()))
		}
	}
	var limits []Limit
	for text := range strings.SplitSeq(words[1], ",") {
		if l, err := ParseLimit(text); err == nil {
			limits = append(limits, l)
		}
	}
	said := make([]byte, 0, 64) // become may leave no memory to make it of
	failed, errno := become(words[3], os.Args, os.Environ(), limits)
	said = append(append(said, failed...), ' ')
	syscall.Write(pipe, strconv.AppendInt(said, int64(errno), 10))
	os.Exit(127)
}
