package cli

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// Flags returns the flags of a, with those that every applet has, and what runs once they are
// parsed. Each call makes new ones.
func (a *Applet) Flags() (*pflag.FlagSet, Run) {
	fs, run, _ := a.flags()
	return fs, run
}

// common holds the flags that every applet has.
type common struct{ quiet, help bool }

func (a *Applet) flags() (*pflag.FlagSet, Run, *common) {
	fs := newFlagSet(a.Name)
	run := a.Setup(fs)
	all := new(common)
	// An applet may have a --quiet or a -h of its own, as list and exec do.
	letter := func(s string) string {
		if fs.ShorthandLookup(s) != nil {
			return ""
		}
		return s
	}
	if fs.Lookup("quiet") == nil {
		fs.BoolVarP(&all.quiet, "quiet", letter("q"), false, "no messages, only the exit status")
	}
	if fs.Lookup("help") == nil {
		fs.BoolVarP(&all.help, "help", letter("h"), false, "show this help")
	}
	return fs, run, all
}

func newFlagSet(name string) *pflag.FlagSet {
	fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
	fs.SetInterspersed(false)
	fs.SortFlags = false // help shows them in the order of their declaration
	return fs
}

// Seconds declares a length of time as sleep(1) and timeout(1) take it: bare seconds with
// fractions, or a number with ms, s, m, h or d. What p holds is the default.
func Seconds(fs *pflag.FlagSet, p *time.Duration, name, shorthand, usage string) {
	fs.VarP((*seconds)(p), name, shorthand, usage)
}

type seconds time.Duration

func (s *seconds) Type() string { return "TIME" }

func (s *seconds) String() string {
	d := time.Duration(*s)
	if d == 0 {
		return "0"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func (s *seconds) Set(text string) error {
	d, err := parseSeconds(text)
	if err == nil {
		*s = seconds(d)
	}
	return err
}

func parseSeconds(text string) (time.Duration, error) {
	if strings.HasPrefix(text, "-") {
		return 0, errors.New("a time cannot be negative")
	}
	bad := errors.New("not a time, such as 0.5, 3, 250ms, 5s, 2m or 1h")
	if text == "" || strings.HasPrefix(text, "+") {
		return 0, bad
	}
	unit, days := "", false
	switch last := text[len(text)-1]; {
	case last >= '0' && last <= '9' || last == '.':
		unit = "s"
	case last == 'd': // time.ParseDuration ends at hours, sleep(1) knows days
		text, unit, days = text[:len(text)-1], "h", true
	}
	d, err := time.ParseDuration(text + unit)
	if err != nil {
		return 0, bad
	}
	if days {
		if d > math.MaxInt64/24 {
			return 0, bad
		}
		d *= 24
	}
	return d, nil
}

// Size declares a number of bytes: bare, or with K, M, G or T for powers of 1024. What p holds
// is the default.
func Size(fs *pflag.FlagSet, p *int64, name, shorthand, usage string) {
	fs.VarP((*size)(p), name, shorthand, usage)
}

type size int64

const sizeUnits = "KMGT"

func (s *size) Type() string { return "SIZE" }

func (s *size) String() string {
	n, unit := int64(*s), ""
	for i := 0; i < len(sizeUnits) && n != 0 && n%1024 == 0; i++ {
		n, unit = n/1024, sizeUnits[i:i+1]
	}
	return strconv.FormatInt(n, 10) + unit
}

func (s *size) Set(text string) error {
	n, err := parseSize(text)
	if err == nil {
		*s = size(n)
	}
	return err
}

func parseSize(text string) (int64, error) {
	if strings.HasPrefix(text, "-") {
		return 0, errors.New("a size cannot be negative")
	}
	digits, shift := text, 0
	if text != "" {
		last := text[len(text)-1]
		if i := strings.IndexByte(sizeUnits, last&^0x20); i >= 0 && last >= 'A' {
			digits, shift = text[:len(text)-1], 10*(i+1)
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if errors.Is(err, strconv.ErrRange) || n > math.MaxInt64>>shift {
		return 0, errors.New("too large")
	}
	if err != nil {
		return 0, errors.New("not a size, such as 4096, 64K, 1M or 2G")
	}
	return int64(n) << shift, nil
}

// Choice declares a flag that takes one of a few words. What p holds is the default.
func Choice(fs *pflag.FlagSet, p *string, name, shorthand, usage string, words ...string) {
	fs.VarP(&choice{p, words}, name, shorthand, usage)
}

type choice struct {
	p     *string
	words []string
}

func (c *choice) Type() string { return strings.Join(c.words, "|") }

func (c *choice) String() string {
	if c.p == nil {
		return ""
	}
	return *c.p
}

// Choices are the words that the flag takes.
func (c *choice) Choices() []string { return c.words }

func (c *choice) Set(text string) error {
	if !slices.Contains(c.words, text) {
		return fmt.Errorf("not one of %s", strings.Join(c.words, ", "))
	}
	*c.p = text
	return nil
}

// parse reads the options at the front of args; the operands are then fs.Args. Its errors are
// errors of usage in our words.
func parse(fs *pflag.FlagSet, args []string) error {
	err := fs.Parse(args)
	if err == nil {
		return nil
	}
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		return unknownFlag(fs, unknown)
	case errors.As(err, &missing):
		what, _ := pflag.UnquoteUsage(missing.GetFlag())
		return Usagef("%s: %s is missing", dashed(missing.GetSpecifiedName()), what)
	case errors.As(err, &invalid):
		err = Usagef("--%s: %q: %w", invalid.GetFlag().Name, invalid.GetValue(), cause(invalid))
		return oneDash(fs, args, err)
	}
	return Usage(err)
}

func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// cause is why a value was refused, without the name of the function that refused it.
func cause(invalid *pflag.InvalidValueError) error {
	err := invalid.Unwrap()
	var num *strconv.NumError
	switch isNum := errors.As(err, &num); {
	case !isNum:
		return err
	case invalid.GetFlag().Value.Type() == "bool":
		return errors.New("not true or false")
	case errors.Is(num.Err, strconv.ErrSyntax):
		return errors.New("not a number")
	default:
		return num.Err
	}
}

func unknownFlag(fs *pflag.FlagSet, unknown *pflag.NotExistError) error {
	name, group := unknown.GetSpecifiedName(), unknown.GetSpecifiedShortnames()
	if group != "" {
		letters := []rune(group)
		err := Usagef("unknown flag: -%c", letters[0])
		return oneDash(fs, []string{"-" + group}, err)
	}
	err := Usagef("unknown flag: --%s", name)
	var names []string
	fs.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	if close := nearest(name, names); len(close) > 0 {
		return Hint(err, "did you mean --%s?", strings.Join(close, " or --"))
	}
	return err
}

// oneDash adds a hint to err where one of args is a long flag with a single dash, which reads as
// a group of letters.
func oneDash(fs *pflag.FlagSet, args []string, err error) error {
	for _, arg := range args {
		name, _, _ := strings.Cut(strings.TrimPrefix(arg, "-"), "=")
		if len(name) > 1 && arg[0] == '-' && name[0] != '-' && fs.Lookup(name) != nil {
			return Hint(err, "did you mean --%s?", name)
		}
	}
	return err
}

// Rate declares a number of bytes a second: a size as Size takes it, with or without "/s" behind it. What
// p holds is the default; 0 is no limit.
func Rate(fs *pflag.FlagSet, p *int64, name, shorthand, usage string) {
	fs.VarP((*rate)(p), name, shorthand, usage)
}

type rate int64

func (r *rate) Type() string { return "RATE" }

func (r *rate) String() string {
	if *r == 0 {
		return "0"
	}
	return (*size)(r).String() + "/s"
}

func (r *rate) Set(text string) error {
	n, err := parseSize(strings.TrimSuffix(text, "/s"))
	switch {
	case err != nil && err.Error() != "too large":
		return errors.New("not a rate, such as 64K/s or 2M/s")
	case err != nil:
		return err
	case n == 0:
		return errors.New("nothing at all would pass")
	}
	*r = rate(n)
	return nil
}
