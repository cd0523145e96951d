package launch

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"sockbox/applets/internal/life"
)

// CheckPatterns tells whether all of them can be patterns of programs, see permitted.
func CheckPatterns(patterns []string) error {
	for _, p := range patterns {
		if _, err := path.Match(p, ""); err != nil || p == "" {
			return fmt.Errorf("%q is no pattern", p)
		}
	}
	return nil
}

// permitted finds a program and returns its path, if one of the patterns lets it be run. A pattern
// without a slash is for names that are looked up in PATH; one with a slash is for the whole path, in
// which "*" stands for no slash, and ".." has been worked out: what was compared is what is run.
func permitted(patterns []string, name, dir string) (string, error) {
	at, err := life.LookUp(name)
	if err != nil {
		return "", err
	}
	if !filepath.IsAbs(at) {
		at = filepath.Join(dir, at)
		if at, err = filepath.Abs(at); err != nil {
			return "", err
		}
	}
	at = filepath.Clean(at)
	for _, p := range patterns {
		of := at
		if !strings.Contains(p, "/") {
			if strings.Contains(name, "/") {
				continue
			}
			of = name
		}
		if ok, _ := path.Match(p, of); ok {
			return at, nil
		}
	}
	return "", fmt.Errorf("%s: not one of the programs that are allowed: %w", name, syscall.EACCES)
}
