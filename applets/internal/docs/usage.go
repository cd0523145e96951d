package docs

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"sockbox/applets/internal/cli"
)

const (
	width     = 80 // of a terminal
	maxColumn = 30 // a longer option has its text on the next line
)

// Usage is a's --help; name is how it was called.
func (Pages) Usage(a *cli.Applet, name string) string {
	var b strings.Builder
	synopsis(&b, a, name)
	fmt.Fprintf(&b, "\n%s.\n", a.Short)

	writeOptions(&b, options(a))
	if list := lines(a.Example); len(list) > 0 {
		fmt.Fprintf(&b, "\nExamples:\n  %s\n", strings.Join(list, "\n  "))
	}
	writeExits(&b, a)
	fmt.Fprintf(&b, "\nMore: sockbox help --man %s | man -l -\n", a.Name)
	return b.String()
}

// Overview is sockbox --help.
func (Pages) Overview(all []*cli.Applet) string {
	var b strings.Builder
	top := find(all, "sockbox")
	synopsis(&b, top, top.Name)
	fmt.Fprintf(&b, "\n%s.\n\nApplets:\n", top.Short)

	var rows [][2]string
	for _, a := range shown(all) {
		rows = append(rows, [2]string{"  " + a.Name, a.Short})
	}
	columns(&b, rows)
	writeOptions(&b, options(top))
	if list := lines(top.Example); len(list) > 0 {
		fmt.Fprintf(&b, "\nExamples:\n  %s\n", strings.Join(list, "\n  "))
	}
	return b.String()
}

func synopsis(b *strings.Builder, a *cli.Applet, name string) {
	lead := "usage: "
	for _, form := range forms(a.Operands) {
		line := lead + name + " [options]"
		if form != "" {
			line += " " + form
		}
		fmt.Fprintln(b, line)
		lead = "       "
	}
}

func writeOptions(b *strings.Builder, list []option) {
	fmt.Fprint(b, "\nOptions:\n")
	var rows [][2]string
	for _, o := range list {
		left := "      --" + o.long
		if o.short != "" {
			left = "  -" + o.short + ", --" + o.long
		}
		switch {
		case o.optional:
			left += "[=" + o.value + "]"
		case o.value != "":
			left += " " + o.value
		}
		rows = append(rows, [2]string{left, o.help()})
	}
	columns(b, rows)
}

// writeExits lists what every applet's callers meet, and what a says of its own.
func writeExits(b *strings.Builder, a *cli.Applet) {
	fmt.Fprint(b, "\nExit status:\n")
	exits := map[int]string{}
	for code, s := range Statuses[:3] {
		exits[code] = s.Means
	}
	maps.Copy(exits, a.Exits)
	var rows [][2]string
	for _, code := range slices.Sorted(maps.Keys(exits)) {
		rows = append(rows, [2]string{fmt.Sprintf("  %d", code), exits[code]})
	}
	columns(b, rows)
}

// columns writes rows with their second parts under each other, wrapped to the terminal's width.
func columns(b *strings.Builder, rows [][2]string) {
	column := 0
	for _, row := range rows {
		if n := utf8.RuneCountInString(row[0]) + 2; n <= maxColumn {
			column = max(column, n)
		}
	}
	column = max(column, 8)
	for _, row := range rows {
		line, n := row[0], utf8.RuneCountInString(row[0])
		if n+2 > column {
			fmt.Fprintln(b, line)
			line, n = "", 0
		}
		for _, text := range wrap(row[1], width-column) {
			fmt.Fprintf(b, "%s%*s%s\n", line, column-n, "", text)
			line, n = "", 0
		}
	}
}

// wrap breaks text into lines of at most n runes where it has spaces to break at.
func wrap(text string, n int) []string {
	var out []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > n:
			out = append(out, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(out, line)
}
