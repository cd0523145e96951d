// Package secret is about keys: where a key comes from, and the channel on which two sides prove
// to each other that they hold the same one.
package secret

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A Key is a secret that both ends hold. It does not print: a format verb shows no byte of it.
type Key struct{ text []byte }

// maxKey bounds what is read from a file that may not be a key.
const maxKey = 4096

// ErrBadKey is what an error about a text that cannot be a key is.
var ErrBadKey = errors.New("not a key")

// Environment is the variable that the operand "+" stands for.
const Environment = "SOCKBOX_KEY"

// ReadKey takes a key as an operand gives it:
//
//	KEY        the text itself
//	text:KEY   the same, for a text that looks like one of the forms below
//	@FILE      the first line of a file that nobody else can read
//	env:VAR    the value of a variable
//	+          the value of $SOCKBOX_KEY
//	fd:N       the first line from an inherited descriptor
//	-          the first line of stdin
//
// From a descriptor no byte beyond the line is taken. A variable is taken out of the environment: no child
// is to have it.
func ReadKey(operand string, stdin io.Reader) (Key, error) {
	var text []byte
	var from string // where it is, if not in the operand
	var err error
	form, rest, _ := strings.Cut(operand, ":")
	switch {
	case operand == "-":
		from = "stdin"
		text, err = firstLine(stdin)
	case operand == "+":
		from = "$" + Environment
		text, err = variable(Environment)
	case operand == "@" || operand == "env:" || operand == "fd:": // as a variable that is not set makes it
		err = fmt.Errorf("what %s is about is missing (text:%s is the text)", operand, operand)
	case strings.HasPrefix(operand, "@"):
		from = operand[1:]
		text, err = readFile(from)
	case form == "env":
		from = "$" + rest
		text, err = variable(rest)
	case form == "fd":
		from = operand
		text, err = readDescriptor(rest)
	case form == "text":
		text = []byte(rest)
	default:
		text = []byte(operand)
	}
	if err == nil {
		err = check(text)
	}
	switch {
	case err == nil:
		return Key{text}, nil
	case from == "":
		return Key{}, fmt.Errorf("%w: %w", ErrBadKey, err)
	}
	return Key{}, fmt.Errorf("the key from %s: %w", from, err)
}

// check finds what is wrong with a key.
func check(text []byte) error {
	switch {
	case len(text) == 0:
		return errors.New("it is empty")
	case bytes.ContainsAny(text, "\r\n"):
		return errors.New("it has a line's end in it")
	case len(text) > maxKey:
		return fmt.Errorf("it is longer than %d bytes", maxKey)
	}
	return nil
}

func variable(name string) ([]byte, error) {
	v, ok := os.LookupEnv(name)
	if !ok {
		return nil, errors.New("the variable is not set")
	}
	os.Unsetenv(name)
	return []byte(v), nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer f.Close()
	// What is asked is the file that was opened, not the one that has the path now. A pipe, as in
	// @<(COMMAND), belongs to the caller and its mode says so.
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if fi.IsDir() {
		return nil, errors.New("it is a directory")
	}
	if mode := fi.Mode().Perm(); mode&0o077 != 0 && !credential(path) {
		return nil, fmt.Errorf("others may use the file, its mode is %04o (chmod 600 makes it private)", mode)
	}
	return firstLine(f)
}

// credential tells whether a file is one that systemd hands to this service alone, by an access list
// that looks like a group's right (systemd.exec(5)).
func credential(path string) bool {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	return dir != "" && filepath.Dir(path) == filepath.Clean(dir)
}

func readDescriptor(s string) ([]byte, error) {
	fd, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return nil, errors.New("not a descriptor's number")
	}
	f := os.NewFile(uintptr(fd), "fd:"+s)
	text, err := firstLine(f)
	if fd > 2 {
		f.Close() // no child of ours is to find it
	}
	if path := (*os.PathError)(nil); errors.As(err, &path) {
		err = path.Err
	}
	return text, err
}

// firstLine reads byte by byte: what follows the line belongs to somebody else.
func firstLine(r io.Reader) ([]byte, error) {
	var line []byte
	b := make([]byte, 1)
	for len(line) <= maxKey {
		n, err := r.Read(b)
		if n == 1 {
			if b[0] == '\n' {
				break
			}
			line = append(line, b[0])
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return bytes.TrimSuffix(line, []byte{'\r'}), nil
}

// Exposed tells whether an operand gives a key where others can see it who look at the processes of a user: in
// the arguments, or in the environment.
func Exposed(operand string) bool {
	form, rest, _ := strings.Cut(operand, ":")
	return operand != "-" && !strings.HasPrefix(operand, "@") && (rest == "" || form != "fd")
}

// Text is the key itself, for a process of ours that is to have it. It is not to be shown.
func (k Key) Text() []byte { return bytes.Clone(k.text) }

// Given tells whether there is a key at all.
func (k Key) Given() bool { return len(k.text) > 0 }

// Format keeps the key out of every message.
func (k Key) Format(s fmt.State, _ rune) { io.WriteString(s, "[key]") }

// Equal compares the key with text in constant time. It is for the plain wire, where the key itself
// is sent.
func (k Key) Equal(text []byte) bool {
	a, b := sha256.Sum256(k.text), sha256.Sum256(text)
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// CutPrefix returns what follows the key in text, which begins with it, or with something else. The
// comparison takes the same time whatever the bytes are.
func (k Key) CutPrefix(text []byte) (rest []byte, ok bool) {
	n := min(len(k.text), len(text))
	return text[n:], k.Equal(text[:n])
}

// Line returns the key as the plain wire has it, and an error for a key that the wire cannot carry.
func (k Key) Line() ([]byte, error) {
	if k.text[0] == recordHandshake {
		return nil, fmt.Errorf("%w for the plain wire: it begins as TLS does", ErrBadKey)
	}
	return append(bytes.Clone(k.text), '\n'), nil
}

// scalar is the key as SPAKE2 wants it (w). RFC 9382 asks for a memory-hard hash where what is
// stored is less than the key; here both sides hold the key itself, and a trigger takes milliseconds.
func (k Key) scalar() ([]byte, error) {
	wide, err := hkdf.Key(sha256.New, k.text, []byte("sockbox-spake2-v1"), "", wideSize)
	if err != nil {
		return nil, err
	}
	return scalar(wide), nil
}
