package cli

import (
	"os"

	"github.com/mattn/go-isatty"
)

// IsTerminal says whether stream, one of a Call's, is a terminal.
func IsTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}
