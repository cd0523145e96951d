package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// A Home is where the program is, for a shell that is to find it.
type Home struct {
	Program string // its path
	Links   string // the private folder of links, one for each name of an applet
}

// Home finds the program and its private folder of links: libexec/sockbox beside the bin that the
// program is in, where that was installed, else a folder of the user's own, in which the links are
// made. It is not in the runtime directory, where every name is a buffer's and which goes away with
// the session.
func (c *Call) Home() (Home, error) {
	program, err := os.Executable()
	if err == nil {
		program, err = filepath.EvalSymlinks(program)
	}
	if err != nil {
		return Home{}, err
	}
	h := Home{Program: program, Links: filepath.Join(filepath.Dir(filepath.Dir(program)), "libexec", self)}
	if !leads(h.Links, c.Applets, program) {
		if h.Links, err = privateFolder(); err != nil {
			return Home{}, err
		}
		if err := install(c.Applets, h.Links, true); err != nil {
			return Home{}, err
		}
	}
	if strings.Contains(h.Links, ":") {
		return Home{}, fmt.Errorf("%s: a folder with a colon in its path cannot be in PATH", h.Links)
	}
	return h, nil
}

// leads tells whether dir has a link to program for each name.
func leads(dir string, table []*Applet, program string) bool {
	us, err := os.Stat(program)
	if err != nil {
		return false
	}
	for _, name := range names(table) {
		there, err := os.Stat(filepath.Join(dir, name))
		if err != nil || !os.SameFile(us, there) {
			return false
		}
	}
	return true
}

// privateFolder makes the user's own folder of links. One that others own or can write to would let
// them choose what a shell runs.
func privateFolder() (string, error) {
	base := os.Getenv("XDG_CACHE_HOME")
	if !filepath.IsAbs(base) { // which the specification says to ignore
		home := os.Getenv("HOME")
		if !filepath.IsAbs(home) {
			return "", errors.New("there is no place for the links: neither HOME nor XDG_CACHE_HOME says where")
		}
		base = filepath.Join(home, ".cache")
	}
	dir := filepath.Join(base, self, "bin")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("the folder for links: %w", err)
	}
	for _, d := range []string{filepath.Dir(dir), dir} {
		info, err := os.Lstat(d)
		if err != nil {
			return "", fmt.Errorf("the folder for links: %w", err)
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		switch {
		case !info.IsDir():
			return "", fmt.Errorf("the folder for links: %s is not a directory", d)
		case !ok || int(st.Uid) != os.Getuid():
			return "", fmt.Errorf("the folder for links: %s is not yours", d)
		case info.Mode().Perm()&0o022 != 0:
			return "", fmt.Errorf("the folder for links: %s can be written to by others (its mode is %04o)", d, info.Mode().Perm())
		}
	}
	return dir, nil
}
