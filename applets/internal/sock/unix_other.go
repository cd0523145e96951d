//go:build !linux

package sock

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const maxPath = 103 // bytes of sun_path on the BSDs and Darwin, without the closing NUL

// nameInDir is the name to bind temp in dir; base has to fit too, for those who
// will connect to it.
func nameInDir(_ *os.File, dir, temp, base string) (string, error) {
	name := filepath.Join(dir, temp)
	if max(len(name), len(filepath.Join(dir, base))) > maxPath {
		return "", errTooLong()
	}
	return name, nil
}

func nameToDial(path string) (name string, done func(), err error) {
	if len(path) > maxPath {
		return "", nil, errTooLong()
	}
	return path, func() {}, nil
}

func errTooLong() error {
	return fmt.Errorf("the path is too long: this system allows %d bytes for a unix socket", maxPath)
}

func checkAbstract(string) error {
	return errors.New("only Linux has abstract names for unix sockets")
}
