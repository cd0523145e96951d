package text

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTable(t *testing.T) {
	table := Table{
		Columns: []Column{{Head: "NAME", Least: 6}, {Head: "ENDPOINT", Least: 9}, {Head: "PID", Right: true, Rank: 2}, {Head: "AGE", Right: true, Rank: 1}, {Head: "STATE"}},
		Rows: [][]Cell{
			{{Text: "mail"}, {Text: "127.0.0.1:9999"}, {Text: "7"}, {Text: "3s"}, {"listening", "32"}},
			{{Text: "a-long-name"}, {Text: "unix:/tmp/\x1b[2J"}, {Text: "12345"}, {Text: "12m"}, {Text: ""}},
		},
	}
	for _, c := range []struct {
		width int
		want  string
	}{
		{0, `
NAME         ENDPOINT          PID  AGE  STATE
mail         127.0.0.1:9999      7   3s  listening
a-long-name  unix:/tmp/?[2J  12345  12m`},
		{46, `
NAME        ENDPOINT       PID  AGE  STATE
mail        127.0…:9999      7   3s  listening
a-lo…-name  unix:…/?[2J  12345  12m`},
		{40, `
NAME    ENDPOINT     PID  AGE  STATE
mail    127.…9999      7   3s  listening
a-…ame  unix…?[2J  12345  12m`},
		{39, `
NAME         ENDPOINT    AGE  STATE
mail         127.…:9999   3s  listening
a-long-name  unix…/?[2J  12m`},
		{28, `
NAME    ENDPOINT   STATE
mail    127.…9999  listening
a-…ame  unix…?[2J`},
		{14, `
N…E  E…T  S…TE
m…l  1…9  l…ng
a…e  u…J`},
		{1, `
…  …  …
…  …  …
…  …`},
	} {
		table.Width = c.width
		got := "\n" + strings.Join(table.Lines(), "\n")
		if got != c.want {
			t.Errorf("width %d:%s\nwant:%s", c.width, got, c.want)
		}
		for _, line := range table.Lines() {
			if n := utf8.RuneCountInString(line); c.width > 1 && n > c.width {
				t.Errorf("width %d: %q has %d", c.width, line, n)
			}
		}
	}
	table.Width, table.Colour = 0, true
	plain := strings.NewReplacer("\x1b[1m", "", "\x1b[32m", "", "\x1b[0m", "")
	coloured := table.Lines()
	table.Colour = false
	for i, line := range table.Lines() {
		if plain.Replace(coloured[i]) != line {
			t.Errorf("%q, want the colours of %q", coloured[i], line)
		}
	}
	if !slices.ContainsFunc(coloured, func(s string) bool { return strings.Contains(s, "\x1b[32mlistening\x1b[0m") }) {
		t.Errorf("no colour in %q", coloured)
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 7: "7", 99_999: "99999", 100_000: "100k", 999_499: "999k", 999_500: "1.00M", 1_234_567: "1.23M",
		12_345_678: "12.3M", 9_995_000_000: "10.0G", 1 << 62: "4.61E",
	} {
		if got := Count(n); got != want {
			t.Errorf("Count(%d) = %q, want %q", n, got, want)
		}
	}
}
