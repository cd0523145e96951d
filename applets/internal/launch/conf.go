package launch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sockbox/applets/internal/life"
	"sockbox/applets/internal/sock"
)

// A Conf is a job file of Upstart, see its init(5), as far as it matters to a job that a socket starts.
type Conf struct {
	At             []Endpoint // of the socket events in "start on"
	SetUID, SetGID string
	Env            []string
	Dir, Umask     string
	Nice           int
	Limits         []life.Limit
	Exec, Script   string // one of the two
	KillTimeout    time.Duration
	Notes          []string // what is in there and has no effect here
}

// ErrNoSocket says that no socket starts the job.
var ErrNoSocket = errors.New(`nothing to listen at: "start on socket PROTO=inet PORT=N" says where`)

// ParseConf reads a job file. Its errors begin with the number of the line.
func ParseConf(text []byte) (*Conf, error) {
	if bytes.IndexByte(text, 0) >= 0 {
		return nil, errors.New("a NUL in it: not a job file")
	}
	c := &Conf{}
	lines := strings.Split(string(text), "\n")
	for i := 0; i < len(lines); i++ {
		n := i + 1
		line := lines[i]
		// A line goes on where it ends in a backslash, and within parentheses.
		for i+1 < len(lines) && (continues(line) || depth(line) > 0) {
			i++
			if continues(line) {
				line = strings.TrimSuffix(strings.TrimRight(line, " \t\r"), `\`)
			}
			line = uncomment(line) + " " + lines[i]
		}
		line = strings.TrimSpace(uncomment(line))
		if line == "" {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		if tab, more, ok := strings.Cut(word, "\t"); ok {
			word, rest = tab, more+" "+rest
		}
		rest = strings.TrimSpace(rest)
		var block string
		if opens(word, rest) {
			var ok bool
			if block, i, ok = readBlock(lines, i+1); !ok {
				return nil, fmt.Errorf("line %d: end script is missing", n)
			}
		}
		if err := c.stanza(word, rest, block); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	switch {
	case c.Exec != "" && c.Script != "":
		return nil, errors.New("exec and script exclude each other")
	case c.Exec == "" && c.Script == "":
		return nil, errors.New("exec or script is missing: there is nothing to run")
	case len(c.At) == 0:
		return nil, ErrNoSocket
	}
	return c, nil
}

func opens(word, rest string) bool {
	return word == "script" && rest == "" || phase(word) && rest == "script"
}

// phase tells the stanzas that say what runs before and after the main process.
func phase(word string) bool {
	return slices.Contains([]string{"pre-start", "post-start", "pre-stop", "post-stop"}, word)
}

func readBlock(lines []string, i int) (text string, end int, ok bool) {
	from := i
	for ; i < len(lines); i++ {
		if words := strings.Fields(lines[i]); len(words) >= 2 && words[0] == "end" && words[1] == "script" {
			return strings.Join(lines[from:i], "\n") + "\n", i, true
		}
	}
	return "", i, false
}

// quotes calls f with each byte that is neither quoted nor escaped, and where it is, until f says no.
func quotes(s string, f func(i int) bool) {
	var quote byte
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quote != '\'':
			i++
		case quote != 0:
			if s[i] == quote {
				quote = 0
			}
		case s[i] == '"' || s[i] == '\'':
			quote = s[i]
		case !f(i):
			return
		}
	}
}

// uncomment takes a comment away: # at the beginning of a word.
func uncomment(s string) string {
	end := len(s)
	quotes(s, func(i int) bool {
		if s[i] == '#' && (i == 0 || s[i-1] == ' ' || s[i-1] == '\t') {
			end = i
			return false
		}
		return true
	})
	return strings.TrimRight(s[:end], " \t\r")
}

func continues(line string) bool {
	s := uncomment(line)
	n := len(s) - len(strings.TrimRight(s, `\`))
	return n%2 == 1
}

// depth counts the parentheses of "start on" and "stop on" that are open. In other stanzas they belong
// to a shell.
func depth(line string) int {
	words := strings.Fields(line)
	if len(words) < 2 || words[0] != "start" && words[0] != "stop" || !strings.HasPrefix(words[1], "on") {
		return 0
	}
	line = uncomment(line)
	n := 0
	quotes(line, func(i int) bool {
		switch line[i] {
		case '(':
			n++
		case ')':
			n--
		}
		return true
	})
	return n
}

// split cuts s into words, and takes quotes and backslashes away. Parentheses are words.
func split(s string) ([]string, error) {
	var words []string
	var word []byte
	in, quote := false, byte(0)
	end := func() {
		if in {
			words = append(words, string(word))
		}
		word, in = nil, false
	}
	for i := 0; i < len(s); i++ {
		b := s[i]
		switch {
		case b == '\\' && quote != '\'':
			if i++; i == len(s) {
				return nil, errors.New("a backslash at the end")
			}
			word, in = append(word, s[i]), true
		case quote != 0 && b == quote:
			quote = 0
		case quote != 0:
			word = append(word, b)
		case b == '"' || b == '\'':
			quote, in = b, true
		case b == ' ' || b == '\t' || b == '\r' || b == '\n':
			end()
		case b == '(' || b == ')':
			end()
			words = append(words, string(b))
		default:
			word, in = append(word, b), true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("%c is missing, which closes the quotes", quote)
	}
	end()
	return words, nil
}

// Stanzas that have no effect here, and those without which the job would be another one.
var (
	confIdle = []string{"description", "author", "version", "usage", "emits", "export"}
	confTold = []string{"respawn", "expect", "task", "instance", "console", "oom", "normal", "tmpfs", "debug"}
	confMust = []string{"chroot", "apparmor", "cgroup", "reload"}
)

func (c *Conf) stanza(word, rest, block string) error {
	note := func(format string, args ...any) { c.Notes = append(c.Notes, fmt.Sprintf(format, args...)) }
	one := func(p *string) error {
		words, err := split(rest)
		if err == nil && len(words) != 1 {
			err = fmt.Errorf("%s: one word is needed", word)
		}
		if err == nil {
			*p = words[0]
		}
		return err
	}
	switch {
	case slices.Contains(confIdle, word):
		return nil
	case word == "respawn" && rest == "":
		note("respawn has no effect: the job is started when somebody comes")
		return nil
	case slices.Contains(confTold, word):
		note("%s has no effect", word)
		return nil
	case slices.Contains(confMust, word), phase(word):
		return fmt.Errorf("%s is not supported", word)
	}
	switch word {
	case "start", "stop":
		on, events, _ := strings.Cut(rest, " ")
		switch {
		case on != "on":
			return fmt.Errorf("%s: on is missing", word)
		case word == "stop":
			note("stop on has no effect")
			return nil
		}
		return c.startOn(events, note)
	case "manual":
		note("manual has no effect")
	case "setuid":
		return one(&c.SetUID)
	case "setgid":
		return one(&c.SetGID)
	case "chdir":
		return one(&c.Dir)
	case "umask":
		if err := one(&c.Umask); err != nil {
			return err
		}
		if n, err := strconv.ParseUint(c.Umask, 8, 32); err != nil || n > 0o777 {
			return fmt.Errorf("umask: %q is not a mask, such as 022", c.Umask)
		}
	case "nice":
		var text string
		err := one(&text)
		if err == nil {
			c.Nice, err = strconv.Atoi(text)
		}
		if err != nil || c.Nice < -20 || c.Nice > 19 {
			return fmt.Errorf("nice: a number from -20 to 19 is needed")
		}
	case "env":
		words, err := split(rest)
		switch {
		case err != nil:
			return err
		case len(words) != 1:
			return fmt.Errorf("env: one NAME=VALUE is needed")
		}
		name, _, ok := strings.Cut(words[0], "=")
		if name == "" {
			return fmt.Errorf("env: %q is not NAME=VALUE", words[0])
		}
		if ok { // what is named only comes from our own environment
			c.Env = append(c.Env, words[0])
		}
	case "limit":
		return c.limit(rest, note)
	case "kill":
		words, err := split(rest)
		if err == nil && len(words) == 2 && words[0] == "timeout" {
			n, bad := strconv.ParseUint(words[1], 10, 31)
			if bad != nil {
				return fmt.Errorf("kill timeout: %q is not a number of seconds", words[1])
			}
			c.KillTimeout = time.Duration(n) * time.Second
			return nil
		}
		if err == nil && len(words) == 2 && words[0] == "signal" {
			note("kill signal has no effect: it is TERM")
			return nil
		}
		return fmt.Errorf("kill: timeout SECONDS is needed")
	case "exec":
		if rest == "" {
			return fmt.Errorf("exec: a command is needed")
		}
		c.Exec = rest
	case "script":
		if rest != "" {
			return fmt.Errorf("script: it begins on the next line")
		}
		c.Script = block
	default:
		return fmt.Errorf("%q: no such stanza", word)
	}
	return nil
}

func (c *Conf) limit(rest string, note func(string, ...any)) error {
	words, err := split(rest)
	if err != nil {
		return err
	}
	if len(words) != 3 {
		return fmt.Errorf("limit: NAME SOFT HARD are needed")
	}
	name, soft, hard := words[0], words[1], words[2]
	if soft == "unlimited" {
		note("limit %s unlimited has no effect", name)
		return nil
	}
	l, err := life.ParseLimit(name + "=" + soft)
	if err != nil {
		return fmt.Errorf("limit: %w", err)
	}
	if soft != hard {
		note("limit %s: the hard limit is %s too", name, soft)
	}
	c.Limits = append(c.Limits, l)
	return nil
}

// startOn reads the events, which are joined by "or" and may be in parentheses.
func (c *Conf) startOn(events string, note func(string, ...any)) error {
	words, err := split(events)
	if err != nil {
		return err
	}
	var event []string
	end := func() error {
		if len(event) == 0 {
			return nil
		}
		e := event
		event = nil
		if e[0] != "socket" {
			note("start on %s has no effect: only sockets start a job here", e[0])
			return nil
		}
		return c.socket(e[1:])
	}
	open := 0
	for _, w := range words {
		switch w {
		case "(":
			open++
		case ")":
			open--
		case "and":
			return errors.New(`start on: "and": no socket is two things at once`)
		case "or":
			if err := end(); err != nil {
				return err
			}
		default:
			event = append(event, w)
		}
		if open < 0 {
			break
		}
	}
	if open != 0 {
		return errors.New("start on: parentheses do not match")
	}
	return end()
}

// socket reads what upstart-socket-bridge(8) knows of a socket.
func (c *Conf) socket(vars []string) error {
	known := map[string]string{}
	for _, v := range vars {
		name, value, ok := strings.Cut(v, "=")
		if !ok {
			return fmt.Errorf("socket: %q is not NAME=VALUE", v)
		}
		if name == "PATH" { // as old manuals have it
			name = "SOCKET_PATH"
		}
		if !slices.Contains([]string{"PROTO", "PORT", "ADDR", "SOCKET_PATH"}, name) {
			return fmt.Errorf("socket: %q: no such variable; there are PROTO, PORT, ADDR and SOCKET_PATH", name)
		}
		known[name] = value
	}
	wants := func(names ...string) error {
		for name := range known {
			if name != "PROTO" && !slices.Contains(names, name) {
				return fmt.Errorf("socket: %s does not go with PROTO=%s", name, known["PROTO"])
			}
		}
		if known[names[0]] == "" {
			return fmt.Errorf("socket: %s is missing", names[0])
		}
		return nil
	}
	switch known["PROTO"] {
	case "inet", "inet6":
		if err := wants("PORT", "ADDR"); err != nil {
			return err
		}
		n, err := strconv.ParseUint(known["PORT"], 10, 16)
		if err != nil {
			return fmt.Errorf("socket: PORT: %q is not a port", known["PORT"])
		}
		host := known["ADDR"]
		if host == "" {
			host = "*"
		} else if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		a, err := sock.ParseAddr("tcp://" + host + ":" + strconv.Itoa(int(n)))
		if err != nil {
			return fmt.Errorf("socket: ADDR: %w", err)
		}
		every := a.Host == "0.0.0.0" || a.Host == ""
		if every {
			a.Host = ""
		}
		c.At = append(c.At, Endpoint{Addr: a, IPv4: every && known["PROTO"] == "inet"})
	case "unix":
		if err := wants("SOCKET_PATH"); err != nil {
			return err
		}
		a, err := sock.ParseAddr("unix:" + known["SOCKET_PATH"])
		if err != nil {
			return fmt.Errorf("socket: SOCKET_PATH: %w", err)
		}
		c.At = append(c.At, Endpoint{Addr: a})
	case "":
		return errors.New("socket: PROTO is missing: inet, inet6 or unix")
	default:
		return fmt.Errorf("socket: PROTO: %q is not inet, inet6 or unix", known["PROTO"])
	}
	return nil
}

// shellChars have a command given to a shell, in Upstart as here.
const shellChars = "~`!$^&*()=|\\{}[];\"'<>?"

// Job is what the file says, on top of base.
func (c *Conf) Job(base *Job, name string) (*Job, error) {
	j := *base
	j.Name, j.At = name, c.At
	j.Dir, j.Limits = c.Dir, c.Limits
	j.Env = append(base.Env[:len(base.Env):len(base.Env)], c.Env...)
	if c.KillTimeout > 0 {
		j.KillTimeout = c.KillTimeout
	}
	switch {
	case c.Script != "":
		j.Args = []string{"/bin/sh", "-e", "-c", c.Script, name}
	case strings.ContainsAny(c.Exec, shellChars):
		j.Args = []string{"/bin/sh", "-c", "exec " + c.Exec, name}
	default:
		j.Args = strings.Fields(c.Exec)
	}
	first := ""
	if c.Umask != "" {
		first = "umask " + c.Umask + " && "
	}
	if c.Nice != 0 {
		first += "exec nice -n " + strconv.Itoa(c.Nice) + ` "$@"`
	} else if first != "" {
		first += `exec "$@"`
	}
	if first != "" {
		if _, err := (&Program{Path: j.Args[0], Dir: j.Dir}).find(); err != nil {
			return nil, err
		}
		j.Args = append([]string{"/bin/sh", "-c", first, name}, j.Args...)
	}
	j.Path = j.Args[0]
	if c.SetUID != "" || c.SetGID != "" {
		who := c.SetUID
		if who == "" {
			who = strconv.Itoa(os.Getuid())
		}
		if c.SetGID != "" {
			who += ":" + c.SetGID
		}
		u, err := life.LookUpUser(who)
		if err != nil {
			return nil, fmt.Errorf("setuid: %w", err)
		}
		j.User = u
	}
	return &j, nil
}

// confMost bounds a job file. Those of a whole system together are not as long.
const confMost = 1 << 20

// readConf reads a job file, and nothing that could keep us, as a FIFO would, or that has no end.
func readConf(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil {
		return nil, err
	} else if !fi.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	text, err := io.ReadAll(io.LimitReader(f, confMost+1))
	if err == nil && len(text) > confMost {
		err = fmt.Errorf("longer than %d bytes: not a job file", confMost)
	}
	return text, err
}

// ReadConf makes a job of a file.
func ReadConf(base *Job, path string) (*Job, error) {
	text, err := readConf(path)
	if err != nil {
		return nil, err
	}
	return confJob(base, path, text)
}

func confJob(base *Job, path string, text []byte) (*Job, error) {
	c, err := ParseConf(text)
	var j *Job
	if err == nil {
		j, err = c.Job(base, strings.TrimSuffix(filepath.Base(path), ".conf"))
	}
	if err != nil {
		return nil, &ConfError{path, err}
	}
	for _, n := range c.Notes {
		base.Log("%s: %s", path, n)
	}
	return j, nil
}

// A ConfError says what is wrong with a job file.
type ConfError struct {
	Path string
	Err  error
}

func (e *ConfError) Error() string { return e.Path + ": " + e.Err.Error() }
func (e *ConfError) Unwrap() error { return e.Err }
