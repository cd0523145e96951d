package cli

import (
	"os"

	"github.com/mattn/go-isatty"

	"sockbox/applets/internal/life"
)

// IsTerminal says whether stream, one of a Call's, is a terminal.
func IsTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// TerminalSize returns how many columns and lines stream shows, and 0, 0 where it is no terminal.
// One that does not say has the size that terminals had.
func TerminalSize(stream any) (columns, lines int) {
	f, ok := stream.(*os.File)
	if !ok || !isatty.IsTerminal(f.Fd()) {
		return 0, 0
	}
	if columns, lines, ok = life.TerminalSize(f); !ok {
		return 80, 24
	}
	return columns, lines
}

// CanRedraw says whether stream is a terminal on which the cursor can be moved.
func CanRedraw(stream any) bool { return IsTerminal(stream) && os.Getenv("TERM") != "dumb" }

// Colour says whether stream is a terminal whose user wants colours (no-color.org).
func Colour(stream any) bool {
	return CanRedraw(stream) && os.Getenv("NO_COLOR") == ""
}
