package buffer

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func TestCheckName(t *testing.T) {
	for _, s := range []string{"a", "A-Z.0_9@x+y", "_", "+", "@", "a-", "a.", strings.Repeat("x", MaxName)} {
		if err := CheckName(s); err != nil {
			t.Errorf("CheckName(%q) = %v, want nil", s, err)
		}
	}
	for _, s := range []string{"", ".", "..", ".a", "-a", "a/b", "/", "a b", "a\n", "a\x00", "ä", "a*", strings.Repeat("x", MaxName+1)} {
		if err := CheckName(s); !errors.Is(err, ErrName) || strings.ContainsAny(err.Error(), "\n\x00") {
			t.Errorf("CheckName(%q) = %q, want an error on one line", s, err)
		}
		if _, err := Hold(s); !errors.Is(err, ErrName) {
			t.Errorf("Hold(%q): %v, want %v", s, err, ErrName)
		}
		if _, err := Open(s); !errors.Is(err, ErrName) {
			t.Errorf("Open(%q): %v, want %v", s, err, ErrName)
		}
	}
}

func mustHold(t *testing.T, name string) *Entry {
	t.Helper()
	e, err := Hold(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Remove() })
	return e
}

func listing(t *testing.T, dir string) []string {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}

func names(t *testing.T) []string {
	t.Helper()
	all, err := Names()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestHoldAndRemove(t *testing.T) {
	dir := runtimeDir(t)
	same(t, "Names() without a directory", names(t), nil)
	if _, err := Open("mail"); !errors.Is(err, ErrNoBuffer) || err.Error() != "mail: no such buffer" {
		t.Errorf("Open without a directory: %v, want %v", err, ErrNoBuffer)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("asking has made the directory: %v", err)
	}
	e := mustHold(t, "mail")
	b := mustHold(t, "a")
	if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v, want mode 0700", fi.Mode(), err)
	}
	if _, err := Hold("mail"); !errors.Is(err, ErrHeld) {
		t.Errorf("Hold of what is held: %v, want %v", err, ErrHeld)
	}
	same(t, "Names()", names(t), []string{"a", "mail"})
	if _, err := e.Log(); err != nil {
		t.Error(err)
	}
	same(t, "the folder", listing(t, filepath.Join(dir, "mail")), []string{"log"})
	if _, err := Open("mail"); !errors.Is(err, ErrNoBuffer) { // it does not listen yet
		t.Errorf("Open: %v, want %v", err, ErrNoBuffer)
	}
	same(t, "Names() after that", names(t), []string{"a", "mail"})
	for range 2 {
		if err := e.Remove(); err != nil {
			t.Errorf("Remove: %v", err)
		}
	}
	same(t, "left", listing(t, dir), []string{"a"})
	if err := b.Remove(); err != nil {
		t.Errorf("Remove: %v", err)
	}
	same(t, "left", listing(t, dir), nil)
	mustHold(t, "mail")
}

// Of many who want a name at once exactly one gets it, and each of them gets it in the end.
func TestHoldRaces(t *testing.T) {
	dir := runtimeDir(t)
	var group sync.WaitGroup
	var mu sync.Mutex
	holders := 0
	for range 8 {
		group.Go(func() {
			for won := 0; won < 30; {
				e, err := Hold("mail")
				if errors.Is(err, ErrHeld) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if holders++; holders > 1 {
					t.Error("the name is held twice")
				}
				mu.Unlock()
				won++
				mu.Lock()
				holders--
				mu.Unlock()
				if err := e.Remove(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Go(func() { // who looks and clears at the same time takes nothing away
		for range 200 {
			Names()
			Open("mail")
		}
	})
	group.Wait()
	same(t, "left", listing(t, dir), nil)
}

// TestMain lets the test program be a holder: a process that takes a name and says how it went.
func TestMain(m *testing.M) {
	if name := os.Getenv("SOCKBOX_TEST_HOLD"); name != "" {
		e, err := Hold(name)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		e.Log()
		h := &Host{Entry: e, Queue: NewQueue(QueueOptions{}), Kind: Input}
		if err := h.Listen(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("held")
		var b [1]byte
		os.Stdin.Read(b[:]) // until the test lets go
		os.Exit(0)          // and nothing is cleared
	}
	os.Exit(m.Run())
}

func TestHoldAmongProcesses(t *testing.T) {
	dir := runtimeDir(t)
	type holder struct {
		cmd *exec.Cmd
		out *bytes.Buffer
		in  *os.File
	}
	var all []holder
	for range 6 {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		h := holder{exec.Command(os.Args[0]), &bytes.Buffer{}, w}
		h.cmd.Env = append(os.Environ(), "SOCKBOX_TEST_HOLD=mail")
		h.cmd.Stdin, h.cmd.Stdout = r, h.out
		if err := h.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		r.Close()
		t.Cleanup(func() { h.cmd.Process.Kill() })
		all = append(all, h)
	}
	// All but one end by themselves; which that is shows when it alone is let go.
	var group sync.WaitGroup
	ended := make(chan holder, len(all))
	for _, h := range all {
		group.Go(func() { h.cmd.Wait(); ended <- h })
	}
	for range len(all) - 1 {
		h := <-ended
		if got := h.out.String(); got != "mail: the name is in use\n" {
			t.Errorf("one that came too late says %q", got)
		}
	}
	same(t, "held by a process", names(t), []string{"mail"})
	if _, err := Hold("mail"); !errors.Is(err, ErrHeld) {
		t.Errorf("Hold: %v, want %v", err, ErrHeld)
	}
	for _, h := range all {
		h.in.Close()
	}
	group.Wait()
	if h := <-ended; h.out.String() != "held\n" {
		t.Errorf("the last one says %q", h.out.String())
	}

	// It has cleared nothing: whoever asks next does.
	same(t, "left by a dead holder", listing(t, filepath.Join(dir, "mail")), []string{"log", "sock"})
	if _, err := Open("mail"); !errors.Is(err, ErrNoBuffer) {
		t.Errorf("Open: %v, want %v", err, ErrNoBuffer)
	}
	same(t, "left after Open", listing(t, dir), nil)
}

func TestStaleIsCleared(t *testing.T) {
	dir := runtimeDir(t)
	mustHold(t, "alive")
	stale := func() {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, "dead"), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, f := range []string{"log", "log.old"} {
			if err := os.WriteFile(filepath.Join(dir, "dead", f), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	stale()
	same(t, "Names()", names(t), []string{"alive"})
	same(t, "left by Names", listing(t, dir), []string{"alive"})
	stale()
	e := mustHold(t, "dead")
	same(t, "left by Hold", listing(t, filepath.Join(dir, "dead")), nil)
	e.Remove()

	// What others have put there is theirs: it is neither listed nor removed.
	stale()
	for _, f := range []string{"dead/theirs", "file", "un usual"} {
		if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	same(t, "Names() beside other things", names(t), []string{"alive"})
	same(t, "left", listing(t, dir), []string{"alive", "dead", "file", "link", "un usual"})
	same(t, "left", listing(t, filepath.Join(dir, "dead")), []string{"theirs"})
	for _, name := range []string{"file", "link"} {
		if _, err := Hold(name); err == nil || !strings.Contains(err.Error(), "not a directory") {
			t.Errorf("Hold(%q): %v, want an error", name, err)
		}
	}
}

func TestRemoveLeavesOthersAlone(t *testing.T) {
	dir := runtimeDir(t)
	e := mustHold(t, "mail")
	if err := os.Rename(filepath.Join(dir, "mail"), filepath.Join(dir, "moved")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "mail"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "mail", "sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := e.Remove(); err != nil {
		t.Errorf("Remove: %v", err)
	}
	same(t, "another's folder", listing(t, filepath.Join(dir, "mail")), []string{"sock"})

	e = mustHold(t, "mail")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := e.Remove(); err != nil {
		t.Errorf("Remove of what others have removed: %v", err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("Remove made something: %v", err)
	}
}

func TestDirectoryRefused(t *testing.T) {
	top := filepath.Dir(runtimeDir(t))
	at := func(s string) string { return filepath.Join(top, s) }
	for _, f := range []struct {
		name string
		mode os.FileMode
	}{{"good", 0o700}, {"group", 0o750}, {"others", 0o701}, {"sticky", 0o1777}} {
		if err := os.Mkdir(at(f.name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(at(f.name), f.mode); err != nil {
			t.Fatal(err)
		}
	}
	os.Symlink("good", at("link"))
	os.Symlink("nowhere", at("dangling"))
	os.WriteFile(at("file"), nil, 0o600)
	tests := []struct{ dir, want string }{
		{at("group"), "the runtime directory " + at("group") + " is not safe: its mode is 0750, others may enter it; 0700 is wanted"},
		{at("others"), "its mode is 0701"},
		{at("sticky"), "others may enter it"},
		{at("link"), "the runtime directory " + at("link") + ": not a directory, or a symbolic link to one: "},
		{at("link") + "/", "not a directory, or a symbolic link to one"},
		{at("file"), "not a directory"},
		{at("file/x"), "not a directory"},
	}
	if os.Getuid() != 0 {
		tests = append(tests, struct{ dir, want string }{"/", "it belongs to user 0"})
	} else if err := os.Mkdir(at("foreign"), 0o700); err == nil && os.Chown(at("foreign"), 12345, -1) == nil {
		tests = append(tests, struct{ dir, want string }{at("foreign"), "it belongs to user 12345"})
	}
	for _, test := range tests {
		t.Setenv("SOCKBOX_DIR", test.dir)
		for what, f := range map[string]func() error{
			"Hold":  func() error { _, err := Hold("mail"); return err },
			"Open":  func() error { _, err := Open("mail"); return err },
			"Names": func() error { _, err := Names(); return err },
		} {
			if err := f(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s in %s: %v, want %q", what, test.dir, err, test.want)
			}
		}
	}
	t.Setenv("SOCKBOX_DIR", at("dangling"))
	if _, err := Hold("mail"); err == nil {
		t.Error("Hold in a directory that a symbolic link leads to")
	}
	// Nothing was repaired, and nothing made.
	if fi, err := os.Stat(at("group")); err != nil || fi.Mode().Perm() != 0o750 {
		t.Errorf("the group's directory: %v, %v", fi.Mode(), err)
	}
	same(t, "in the good one", listing(t, at("good")), nil)
}

func TestLog(t *testing.T) {
	dir := runtimeDir(t)
	e := mustHold(t, "mail")
	l, err := e.Log()
	if err != nil {
		t.Fatal(err)
	}
	line := append(bytes.Repeat([]byte("x"), 999), '\n')
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 300 {
				if _, err := l.Write(line); err != nil {
					t.Error(err)
				}
				l.File()
			}
		})
	}
	group.Wait()
	l.Write([]byte("last\n"))
	now, err := os.ReadFile(filepath.Join(dir, "mail", "log"))
	if err != nil || len(now) > maxLog || !bytes.HasSuffix(now, []byte("\nlast\n")) {
		t.Errorf("the log has %d bytes, %v, want at most %d", len(now), err, maxLog)
	}
	old, err := os.ReadFile(filepath.Join(dir, "mail", "log.old"))
	if err != nil || len(old) > maxLog || len(old)+len(now) < maxLog {
		t.Errorf("the log before has %d bytes, %v", len(old), err)
	}
	same(t, "the folder", listing(t, filepath.Join(dir, "mail")), []string{"log", "log.old"})
	if err := e.Remove(); err != nil {
		t.Errorf("Remove: %v", err)
	}
	same(t, "left", listing(t, dir), nil)
	if _, err := l.Write(line); err == nil {
		t.Error("Write after Remove: no error")
	}
}

// A full table of descriptors does not end the host, and it serves again when there is room.
func TestAcceptSurvivesEMFILE(t *testing.T) {
	hold(t, Input, QueueOptions{})
	c := open(t)
	if _, err := c.Stat(); err != nil {
		t.Fatal(err)
	}
	waiting := open(t) // connected, and perhaps not accepted
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	low := old
	low.Cur = 3
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Stat(); err != nil {
		t.Errorf("Stat of one that is connected: %v", err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if _, err := waiting.Stat(); err != nil {
		t.Errorf("Stat when there is room again: %v", err)
	}
	same(t, "Names()", slices.Clone(names(t)), []string{"mail"})
}
