package launch

import (
	"reflect"
	"strings"
	"testing"

	"sockbox/applets/internal/life"
)

func TestParseConf(t *testing.T) {
	const at = "start on socket PROTO=inet PORT=1234\n"
	for _, test := range []struct {
		text string
		want func(c *Conf) any
		is   any
	}{
		{at + "exec /bin/true # a comment", func(c *Conf) any { return c.Exec }, "/bin/true"},
		{at + "exec echo 'a # b' \"c\" foo#bar", func(c *Conf) any { return c.Exec }, "echo 'a # b' \"c\" foo#bar"},
		{at + "exec echo \\\n  more", func(c *Conf) any { return strings.Join(strings.Fields(c.Exec), " ") }, "echo more"},
		{at + "script\n  one # kept\n  end\nend script\n", func(c *Conf) any { return c.Script }, "  one # kept\n  end\n"},
		{at + "env A=\"b c\"\nenv D=e\\ f\nenv HOME\nexec x", func(c *Conf) any { return c.Env }, []string{"A=b c", "D=e f"}},
		{at + "limit nofile 10 10\nexec x", func(c *Conf) any { return c.Limits }, []life.Limit{{Name: "nofile", Value: 10}}},
		{at + "kill timeout 7\nexec x", func(c *Conf) any { return c.KillTimeout.String() }, "7s"},
		{at + "setuid a\nsetgid \"b\"\nexec x", func(c *Conf) any { return c.SetUID + c.SetGID }, "ab"},
		{at + "exec x", places, "*:1234 ipv4"},
		{"start on socket PROTO=inet6 PORT=1 ADDR=::1\nexec x", places, "[::1]:1"},
		{"start on socket PROTO=inet6 PORT=1\nexec x", places, "*:1"},
		{"start on socket PROTO=inet PORT=1 ADDR=0.0.0.0\nexec x", places, "*:1 ipv4"},
		{"start on (socket PROTO=inet PORT=1 ADDR=127.0.0.1\n or (socket PROTO=unix PATH=/x # why\n) or startup)\nexec x", places, "127.0.0.1:1, unix:/x"},
		{"start on socket PROTO=unix SOCKET_PATH=\"/a b\" or \\\n socket PROTO=unix SOCKET_PATH=@c\nexec x", places, "unix:/a b, unix:@c"},
		{at + "respawn\nrespawn limit 1 2\nstop on runlevel [06]\nexec x", func(c *Conf) any { return len(c.Notes) }, 3},
	} {
		c, err := ParseConf([]byte(test.text))
		if err != nil {
			t.Errorf("%q: %v", test.text, err)
		} else if got := test.want(c); !reflect.DeepEqual(got, test.is) {
			t.Errorf("%q: %q, want %q", test.text, got, test.is)
		}
	}
}

func places(c *Conf) any {
	var all []string
	for _, e := range c.At {
		s := e.Addr.String()
		if e.IPv4 {
			s += " ipv4"
		}
		all = append(all, s)
	}
	return strings.Join(all, ", ")
}

func TestParseConfErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "exec or script is missing",
		"exec x":                      "nothing to listen at",
		"start on socket\nexec x":     "line 1: socket: PROTO is missing",
		"start on socket PROTO=inet":  "line 1: socket: PORT is missing",
		"start on socket PROTO=tcp":   `line 1: socket: PROTO: "tcp"`,
		"start on socket PROTO=unix":  "line 1: socket: SOCKET_PATH is missing",
		"start on socket inet":        "line 1: socket: \"inet\" is not NAME=VALUE",
		"start on socket X=1":         `line 1: socket: "X": no such variable`,
		"start socket":                "line 1: start: on is missing",
		"start on (socket PROTO=inet": "parentheses",
		"start on a and b":            `"and"`,
		"\n\nscript\nx":               "line 3: end script is missing",
		"script x":                    "line 1: script: it begins on the next line",
		"exec x\nscript\nend script":  "exclude each other",
		"exec":                        "line 1: exec: a command is needed",
		"umask 9":                     "line 1: umask",
		"nice 20":                     "line 1: nice",
		"env a b":                     "line 1: env",
		"env =b":                      "line 1: env",
		"limit nofile 1":              "line 1: limit",
		"limit unknown 1 1":           "line 1: limit",
		"kill all":                    "line 1: kill",
		"chroot /x":                   "line 1: chroot is not supported",
		"setuid 'a":                   "line 1: ' is missing",
		"exec a\x00b":                 "a NUL",
		"start on socket PROTO=inet PORT=99999\nexec x":                      "line 1: socket: PORT",
		"start on socket PROTO=inet PORT=1 SOCKET_PATH=/x\nexec x":           "does not go with",
		"start on socket PROTO=inet PORT=1\nexec x\nscript\ny\nend script\n": "exclude each other",
	} {
		if _, err := ParseConf([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzParseConf(f *testing.F) {
	for _, s := range []string{
		"start on socket PROTO=inet PORT=34567 ADDR=127.0.0.1  # Port\nsetuid x\nexec /bin/sh /tmp/test-script",
		"start on (socket PROTO=unix SOCKET_PATH=\"/a b\"\n or x)\nscript\nx\nend script\n", "env A='b \\'\nexec \\\n", "limit as 1K 1K\numask 022\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseConf(text)
		if err != nil {
			return
		}
		if len(c.At) == 0 || (c.Exec == "") == (c.Script == "") {
			t.Errorf("%q: %+v", text, c)
		}
		for _, e := range c.At {
			if e.Addr.Net != "tcp" && e.Addr.Net != "unix" || e.Addr.Port < 0 || e.Addr.Port > 65535 {
				t.Errorf("%q: %+v", text, e)
			}
		}
		for _, v := range c.Env {
			if i := strings.IndexByte(v, '='); i < 1 {
				t.Errorf("%q: %q", text, v)
			}
		}
	})
}

func TestRate(t *testing.T) {
	for text, want := range map[string]string{"5": "5/1s", "20/2": "20/2s", "20/2s": "20/2s", "100/m": "100/1m0s", "1/0.5": "1/500ms", "7/90s": "7/1m30s"} {
		if r, err := ParseRate(text); err != nil || r.String() != want {
			t.Errorf("%q: %v, %v, want %s", text, r, err, want)
		}
	}
	for _, text := range []string{"", "0", "-1", "x", "1/", "1/x", "1/-1s", "1/0", "1/2/3"} {
		if r, err := ParseRate(text); err == nil {
			t.Errorf("%q: %v, want an error", text, r)
		}
	}
}
