package fleet

import (
	"bufio"
	"bytes"
	"net"
	"strings"
	"testing"

	"sockbox/applets/internal/secret"
	"sockbox/buffer"
)

func key(t *testing.T, text string) secret.Key {
	t.Helper()
	k, err := secret.ReadKey("text:"+text, nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestParsePlain(t *testing.T) {
	for _, test := range []struct {
		key, line  string
		name, host string
		ok, bad    bool
	}{
		{"k12", "k12:dem1:192.168.0.1:1234", "dem1", "192.168.0.1", true, false},
		{"k12", "k12:dem1:[fd00::1]:1234", "dem1", "fd00::1", true, false},
		{"k12", "k12:dem1:fd00::1:1234", "dem1", "fd00::1", true, false},
		{"a:b", "a:b:dem1:h:1", "dem1", "h", true, false},
		{"k12", "ENDk12END", "", "", true, false},
		{"END", "ENDENDEND", "", "", true, false},
		{"ENDk", "ENDk:d:h:1", "d", "h", true, false},
		{"k12", "ENDk13END", "", "", false, false},
		{"k12", "ENDk12", "", "", false, false},
		{"k12", "ENDk12ENDx", "", "", false, false},
		{"k12", "k13:dem1:h:1", "", "", false, false},
		{"k12", "k12", "", "", false, false},
		{"k12", "k123:dem1:h:1", "", "", false, false},
		{"k12", "", "", "", false, false},
		{"k12", "k12:", "", "", true, true},
		{"k12", "k12:dem1", "", "", true, true},
		{"k12", "k12:dem1:h", "", "", true, true},
		{"k12", "k12::h:1", "", "", true, true},
		{"k12", "k12:dem1:h:x", "", "", true, true},
		{"k12", "k12:dem1:h:65536", "", "", true, true},
	} {
		r, ok, err := parsePlain(key(t, test.key), []byte(test.line))
		if ok != test.ok || (err != nil) != test.bad || err == nil && (r.name != test.name || r.host != test.host) {
			t.Errorf("%q with %q: %+v, %v, %v", test.line, test.key, r, ok, err)
		}
	}
}

// What a master says is what a pool reads.
func TestPlainLines(t *testing.T) {
	k := key(t, "k12")
	line, err := plainLine(k, "dem1", &net.TCPAddr{IP: net.ParseIP("fd00::1"), Port: 5})
	if err != nil || string(line) != "k12:dem1:[fd00::1]:5" {
		t.Errorf("%q, %v", line, err)
	}
	for _, name := range []string{"a:b", "a\nb"} {
		if line, err := plainLine(k, name, &net.TCPAddr{}); err == nil {
			t.Errorf("%q: %q", name, line)
		}
	}
	if end, err := plainEnd(k); err != nil || string(end) != "ENDk12END" {
		t.Errorf("%q, %v", end, err)
	}
}

func FuzzParsePlain(f *testing.F) {
	k, err := secret.ReadKey("k12", nil)
	if err != nil {
		f.Fatal(err)
	}
	for _, line := range []string{"k12:d:h:1", "ENDk12END", "k12:d:[::1]:1", "k12", ""} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, ok, err := parsePlain(k, line)
		if ok && !bytes.HasPrefix(line, []byte("k12:")) && string(line) != "ENDk12END" {
			t.Errorf("%q shows the key", line)
		}
		if ok && err == nil && r.name == "" && string(line) != "ENDk12END" {
			t.Errorf("%q is the end", line)
		}
	})
}

func TestNames(t *testing.T) {
	for _, test := range []struct{ daemon, host, want string }{
		{"dem1", "web1", "dem1 dem1@web1 dem1@web1-2 dem1@web1-3"},
		{"a b", "web 1", "a-b a-b@web-1 a-b@web-1-2 a-b@web-1-3"},
		{".x", "h", "_x _x@h _x@h-2 _x@h-3"},
		{"-x", "h", "_x _x@h _x@h-2 _x@h-3"},
		{"", "", "_ @_ @_-2 @_-3"},
	} {
		next := names(test.daemon, test.host)
		var got []string
		for range 4 {
			got = append(got, next())
		}
		if s := strings.Join(got, " "); s != test.want {
			t.Errorf("%q of %q: %s, want %s", test.daemon, test.host, s, test.want)
		}
	}
	// Whatever they are called, these are names, and each is another one.
	long := strings.Repeat("long", 30)
	for _, daemon := range []string{long, "é", "a/b", "..", "\x00", long + "\n"} {
		next, seen := names(daemon, long), map[string]bool{}
		for range 20 {
			name := next()
			if err := buffer.CheckName(name); err != nil {
				t.Errorf("%q: %v", daemon, err)
			}
			if seen[name] {
				t.Errorf("%q: %q comes twice", daemon, name)
			}
			seen[name] = true
		}
	}
}

func FuzzHear(f *testing.F) {
	f.Add([]byte(`{"type":"hello","host":"h"}` + "\n"))
	f.Add([]byte(`{"type":"request","id":1,"daemon":"d"}` + "\n{}\n"))
	f.Add([]byte(`{"type":"grant","ticket":"AAAA"}` + "\n"))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		talk := &talk{r: bufio.NewReaderSize(bytes.NewReader(b), 16)}
		for range len(b) + 1 {
			if _, err := talk.hear(); err != nil {
				return
			}
		}
		t.Error("there is no end of it")
	})
}

// An object that is too long is not collected.
func TestHearIsBounded(t *testing.T) {
	talk := &talk{r: bufio.NewReader(neverEnding{})}
	if m, err := talk.hear(); err == nil {
		t.Errorf("%+v", m)
	}
}

type neverEnding struct{}

func (neverEnding) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}
