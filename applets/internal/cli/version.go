package cli

import (
	"os"
	"runtime/debug"
	"strings"
)

// version is set when the program is linked:
// go build -ldflags '-X sockbox/applets/internal/cli.version=1.2.3'
var version string

// Version is the program's version: the one set at link time, else what the build recorded.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// Date is the day of the sources that the program was built from, as 2006-01-02, or else the day
// it was built.
func Date() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.time" {
				day, _, _ := strings.Cut(s.Value, "T")
				return day
			}
		}
	}
	path, err := os.Executable()
	if err != nil {
		return ""
	}
	file, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return file.ModTime().UTC().Format("2006-01-02")
}
