package secret

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadKey(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if err := os.Mkdir(filepath.Join(dir, "credentials"), 0o700); err != nil {
		t.Fatal(err)
	}
	credential := file("credentials/key", "from systemd\n", 0o440)
	t.Setenv("CREDENTIALS_DIRECTORY", filepath.Join(dir, "credentials")+"/")
	t.Setenv("SOME_KEY", "from env")
	t.Setenv("EMPTY_KEY", "")
	t.Setenv(Environment, "from + ")
	for _, c := range []struct{ operand, want, err string }{
		{"plain", "plain", ""},
		{"with spaces, : and @", "with spaces, : and @", ""},
		{"text:@file", "@file", ""},
		{"text:-", "-", ""},
		{"text:", "", "empty"},
		{"env:SOME_KEY", "from env", ""},
		{"env:NO_SUCH_KEY", "", "not set"},
		{"env:EMPTY_KEY", "", "empty"},
		{"env:", "", "not a key: what env: is about is missing"},
		{"fd:", "", "not a key: what fd: is about is missing"},
		{"@", "", "not a key: what @ is about is missing"},
		{"text:@", "@", ""},
		{"text:env:", "env:", ""},
		{"+", "from + ", ""},
		{"-", "first", ""},
		{"", "", "empty"},
		{"@" + file("ok", "from file\nsecond line\n", 0o600), "from file", ""},
		{"@" + file("crlf", "from file\r\n", 0o400), "from file", ""},
		{"@" + file("noend", "from file", 0o600), "from file", ""},
		{"@" + file("group", "k\n", 0o640), "", "others may use the file, its mode is 0640"},
		{"@" + file("world", "k\n", 0o604), "", "0604"},
		{"@" + file("emptyfile", "", 0o600), "", "emptyfile: it is empty"},
		{"@" + file("nul", "a\x00b\n", 0o600), "a\x00b", ""},
		{"@" + credential, "from systemd", ""},
		{"@" + file("long", strings.Repeat("k", maxKey+1), 0o600), "", "longer than"},
		{"@" + filepath.Join(dir, "none"), "", "no such file"},
		{"@" + dir, "", "directory"},
		{"fd:x", "", "not a descriptor's number"},
		{"fd:-1", "", "not a descriptor's number"},
		{"fd:999999", "", "bad file descriptor"},
		{strings.Repeat("k", maxKey+1), "", "longer than"},
	} {
		k, err := ReadKey(c.operand, strings.NewReader("first\nsecond\n"))
		switch {
		case c.err == "" && (err != nil || string(k.text) != c.want):
			t.Errorf("ReadKey(%.40q) = %q, %v, want %q", c.operand, k.text, err, c.want)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("ReadKey(%.40q): %v, want an error with %q", c.operand, err, c.err)
		}
	}
}

// What follows the key on a descriptor belongs to who comes next.
func TestReadKeyTakesOneLine(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	io.WriteString(w, "key\nrest")
	w.Close()
	if k, err := ReadKey("-", r); err != nil || string(k.text) != "key" {
		t.Fatalf("%q, %v", k.text, err)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "rest" {
		t.Errorf("left: %q", rest)
	}
}

func TestKeyDoesNotPrint(t *testing.T) {
	k := Key{[]byte("hush")}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{k, &k, struct{ K Key }{k}, []Key{k}} {
			s := fmt.Sprintf(verb, v)
			if strings.Contains(s, "hush") || strings.Contains(s, hex.EncodeToString([]byte("hush"))) || strings.Contains(s, "104 117") || strings.Contains(s, "0x68") {
				t.Errorf("%s of %T prints the key: %s", verb, v, s)
			}
		}
	}
}

func TestKeyEqual(t *testing.T) {
	k := Key{[]byte("k12")}
	for text, want := range map[string]bool{"k12": true, "k1": false, "k123": false, "": false, "K12": false} {
		if k.Equal([]byte(text)) != want {
			t.Errorf("Equal(%q) = %v", text, !want)
		}
	}
	if line, err := k.Line(); err != nil || !bytes.Equal(line, []byte("k12\n")) {
		t.Errorf("Line = %q, %v", line, err)
	}
	for _, text := range []string{"a\nb", "a\n", "text:a\r"} { // it could not be on one line
		if _, err := ReadKey(text, nil); !errors.Is(err, ErrBadKey) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
