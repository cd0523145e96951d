package sock

import (
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
)

func TestOpenFIFO(t *testing.T) {
	dir := t.TempDir()
	a := Addr{Net: "fifo", Path: dir + "/f"}
	_, _, err := OpenFIFO(a, true, ListenOptions{})
	wantErr(t, err, a.String()+": no such file or directory", syscall.ENOENT)

	r, created, err := OpenFIFO(a, false, ListenOptions{Mode: 0o620})
	if err != nil || !created {
		t.Fatal(created, err)
	}
	if fi, err := os.Lstat(a.Path); err != nil || fi.Mode() != os.ModeNamedPipe|0o620 {
		t.Errorf("mode is %v, %v", fi.Mode(), err)
	}
	w, _, err := OpenFIFO(a, true, ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	echoes(t, w, r)
	w.Close()

	// A reader that waits is woken by Close.
	done := make(chan error)
	go func() {
		_, err := r.Read(make([]byte, 1))
		done <- err
	}()
	r.Close()
	if err := <-done; !errors.Is(err, os.ErrClosed) {
		t.Errorf("Read ended with %v; want closed", err)
	}

	_, _, err = OpenFIFO(a, true, ListenOptions{})
	wantErr(t, err, a.String()+": no reader has it open", syscall.ENXIO)
	if !Refused(err) {
		t.Error("a FIFO without a reader refuses")
	}
	r, created, err = OpenFIFO(a, false, ListenOptions{})
	if err != nil || created {
		t.Errorf("the second time: created %v, %v", created, err)
	}
	r.Close()

	file := Addr{Net: "fifo", Path: dir + "/file"}
	if err := os.WriteFile(file.Path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, write := range []bool{false, true} {
		_, _, err = OpenFIFO(file, write, ListenOptions{})
		wantErr(t, err, file.String()+": not a FIFO", nil)
	}
}

func TestFIFOReader(t *testing.T) {
	a := Addr{Net: "fifo", Path: t.TempDir() + "/f"}
	f, _, err := OpenFIFO(a, false, ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewFIFOReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"one", "two\n", "END"} {
		got := make(chan string)
		go func() { // waits, as there is no writer yet
			b, err := io.ReadAll(r)
			if err != nil {
				t.Error(err)
			}
			got <- string(b)
		}()
		w, _, err := OpenFIFO(a, true, ListenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, word); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if b := <-got; b != word {
			t.Errorf("read %q; want %q", b, word)
		}
	}

	// The path goes while a writer is there: the writer's words still come.
	w, _, err := OpenFIFO(a, true, ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	echoes(t, w, r)
	if err := os.Remove(a.Path); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "last"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if b, err := io.ReadAll(r); string(b) != "last" || err != nil {
		t.Errorf("read %q, %v", b, err)
	}
	_, err = r.Read(make([]byte, 1))
	wantErr(t, err, a.String()+": no such file or directory", syscall.ENOENT)
	r.Close()
}

func TestFIFOReaderClose(t *testing.T) {
	f, _, err := OpenFIFO(Addr{Net: "fifo", Path: t.TempDir() + "/f"}, false, ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewFIFOReader(f)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := r.Read(make([]byte, 1))
		done <- err
	}()
	r.Close()
	if err := <-done; err == nil || err == io.EOF {
		t.Errorf("Read ended with %v; want closed", err)
	}
}
