package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// install makes a symlink in dir for every name of every applet. It looks at all of them first:
// where one of them may not be made, none is. A link that already leads here is left as it is.
func install(table []*Applet, dir string, force bool) error {
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	// Through the links: one that is installed today must not hang on another.
	if binary, err = filepath.EvalSymlinks(binary); err != nil {
		return err
	}
	us, err := os.Stat(binary)
	if err != nil {
		return err
	}
	if info, err := os.Stat(dir); err != nil {
		return err
	} else if !info.IsDir() {
		return fmt.Errorf("%s: not a directory", dir)
	}
	target := linkTarget(binary, dir)

	var paths, foreign []string
	var refused []error
	for _, name := range names(table) {
		path := filepath.Join(dir, name)
		info, err := os.Lstat(path)
		if errors.Is(err, os.ErrNotExist) && !force {
			paths = append(paths, path)
			continue
		}
		if errors.Is(err, os.ErrNotExist) { // somebody else may be making it too
			foreign = append(foreign, path)
			continue
		}
		if err != nil {
			return err
		}
		there, err := os.Stat(path)
		switch {
		case err == nil && os.SameFile(us, there):
		case info.IsDir():
			refused = append(refused, fmt.Errorf("%s: is a directory", path))
		case force:
			foreign = append(foreign, path)
		default:
			refused = append(refused, fmt.Errorf("%s: exists and is not ours", path))
		}
	}
	if len(refused) > 0 {
		err := errors.Join(refused...)
		if force {
			return err
		}
		return Hint(err, "nothing was linked; --force puts links in the place of other files")
	}
	return link(target, paths, foreign)
}

// link makes the links at paths, where nothing is, and at foreign, whatever is there. When one cannot
// be made those at paths are taken away again.
func link(target string, paths, foreign []string) error {
	for i, path := range paths {
		if err := os.Symlink(target, path); err != nil {
			for _, made := range paths[:i] {
				os.Remove(made)
			}
			return err
		}
	}
	for _, path := range foreign {
		// Renamed over the file: at no time is there nothing under the name.
		temp := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%d", filepath.Base(path), os.Getpid()))
		if err := os.Symlink(target, temp); err != nil {
			return err
		}
		if err := os.Rename(temp, path); err != nil {
			os.Remove(temp)
			return err
		}
	}
	return nil
}

// linkTarget is what the links in dir hold: the binary's bare name beside the binary itself, so
// that the folder can be moved, else its whole path.
func linkTarget(binary, dir string) string {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		if abs, err := filepath.Abs(real); err == nil && abs == filepath.Dir(binary) {
			return filepath.Base(binary)
		}
	}
	return binary
}

// names are the names that get a link.
func names(table []*Applet) []string {
	var out []string
	for _, a := range table {
		if !a.Hidden {
			out = append(append(out, a.Name), a.Aliases...)
		}
	}
	return out
}
