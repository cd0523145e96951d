package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestInstall(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := func(status int, args ...string) string {
		t.Helper()
		var out bytes.Buffer
		cmd := process(t, append([]string{"sockbox", "--install"}, args...)...)
		cmd.Stdout, cmd.Stderr = &out, &out
		cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != status {
			t.Errorf("--install %q: status %d, want %d: %s", args, got, status, &out)
		}
		return out.String()
	}
	links := func(dir string) string {
		t.Helper()
		list, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, e := range list {
			name := e.Name()
			if to, err := os.Readlink(filepath.Join(dir, name)); err == nil {
				name += "@"
				if to != self {
					name += to
				}
			}
			out = append(out, name)
		}
		return strings.Join(out, " ")
	}
	const all = "list@ other@ read@ sock-read@"

	// Into an empty folder, and again: nothing changes and nobody complains.
	dir := t.TempDir()
	for range 2 {
		if out := run(0, dir); out != "" {
			t.Errorf("it says %q", out)
		}
		if got := links(dir); got != all {
			t.Errorf("links are %q, want %q", got, all)
		}
	}

	// Over somebody else's file: that is told, and nothing is linked at all.
	dir = t.TempDir()
	for _, err := range []error{
		os.WriteFile(filepath.Join(dir, "read"), []byte("theirs"), 0o644),
		os.Symlink("nowhere", filepath.Join(dir, "other")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	out := run(1, dir)
	for _, want := range []string{
		"sockbox: " + dir + "/read: exists and is not ours\n",
		"sockbox: " + dir + "/other: exists and is not ours\n",
		"sockbox: hint: nothing was linked; --force ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %q", want, out)
		}
	}
	if got := links(dir); got != "other@nowhere read" {
		t.Errorf("it made %q", got)
	}

	// By force, which may be said on either side; a folder gives way to nothing.
	run(0, dir, "--force")
	if got := links(dir); got != all {
		t.Errorf("by force: %q, want %q", got, all)
	}
	os.Remove(filepath.Join(dir, "read"))
	if err := os.Mkdir(filepath.Join(dir, "read"), 0o755); err != nil {
		t.Fatal(err)
	}
	if out := run(1, "--force", dir); out != "sockbox: "+dir+"/read: is a directory\n" {
		t.Errorf("a folder in the way: %q", out)
	}

	if out := run(1, filepath.Join(dir, "none")); !strings.Contains(out, "no such file or directory") {
		t.Errorf("no folder: %q", out)
	}
	run(1, filepath.Join(dir, "list")) // a file
}

// Beside the binary a link holds its bare name, so that both can be moved together.
func TestLinkTarget(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "sockbox")
	if err := os.Symlink(dir, filepath.Join(dir, "self")); err != nil {
		t.Fatal(err)
	}
	for to, want := range map[string]string{
		dir:            "sockbox",
		dir + "/self":  "sockbox",
		t.TempDir():    binary,
		"/nonexistent": binary,
	} {
		if got := linkTarget(binary, to); got != want {
			t.Errorf("linkTarget(%s) = %q, want %q", to, got, want)
		}
	}
}
