package text

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Column is one of a Table's.
type Column struct {
	Head  string
	Right bool // numbers stand under each other
	Least int  // where room is short it is cut to so many columns; 0 = it is not
	Rank  int  // where that is not enough, the highest goes first; 0 = it stays, and is cut in the end where it is no number
}

// A Cell is what stands in a row.
type Cell struct {
	Text   string
	Colour string // the parameters of an SGR sequence, as "31"; empty: none
}

// A Table is shown with its columns under each other, two blanks between them.
type Table struct {
	Columns []Column
	Rows    [][]Cell
	Width   int  // what there is room for; 0 = any
	Colour  bool // or none at all
}

// Lines are those of the table, its head first. None is wider than Width, unless there is not even room
// for a character of each column that stays.
func (t *Table) Lines() []string {
	n := len(t.Columns)
	rows := [][]Cell{make([]Cell, n)}
	for i, c := range t.Columns {
		rows[0][i] = Cell{c.Head, "1"}
	}
	for _, row := range t.Rows {
		shown := make([]Cell, n)
		for i, cell := range row {
			shown[i] = Cell{Printable(cell.Text), cell.Colour}
		}
		rows = append(rows, shown)
	}
	widths := make([]int, n)
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell.Text))
		}
	}
	t.fit(widths)

	lines := make([]string, len(rows))
	for i, row := range rows {
		lines[i] = t.line(row, widths)
	}
	return lines
}

// fit makes the columns as narrow as they have to be; one that is left out gets -1.
func (t *Table) fit(widths []int) {
	if t.Width <= 0 {
		return
	}
	over := func() int {
		sum := -2
		for _, w := range widths {
			if w >= 0 {
				sum += w + 2
			}
		}
		return sum - t.Width
	}
	for over() > 0 {
		widest, last, least := -1, -1, -1
		for i, c := range t.Columns {
			if widths[i] < 0 {
				continue
			}
			if c.Least > 0 && widths[i] > c.Least && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
			if !c.Right && widths[i] > 1 && (least < 0 || widths[i] > widths[least]) {
				least = i
			}
			if c.Rank > 0 && (last < 0 || c.Rank > t.Columns[last].Rank) {
				last = i
			}
		}
		switch {
		case widest >= 0:
			widths[widest]--
		case last >= 0:
			widths[last] = -1
			t.widen(widths, over)
		case least >= 0:
			widths[least]--
		default:
			return
		}
	}
}

// widen gives what a column that was left out has freed back to those that were cut.
func (t *Table) widen(widths []int, over func() int) {
	for i, c := range t.Columns {
		if c.Least == 0 || widths[i] < 0 {
			continue
		}
		whole := utf8.RuneCountInString(c.Head)
		for _, row := range t.Rows {
			whole = max(whole, utf8.RuneCountInString(Printable(row[i].Text)))
		}
		for widths[i] < whole && over() < 0 {
			widths[i]++
		}
	}
}

func (t *Table) line(row []Cell, widths []int) string {
	var b strings.Builder
	blanks := 0
	for i, cell := range row {
		if widths[i] < 0 {
			continue
		}
		text := cut(cell.Text, widths[i])
		pad := widths[i] - utf8.RuneCountInString(text)
		if t.Columns[i].Right {
			blanks, pad = blanks+pad, 0
		}
		if text != "" { // no line ends in blanks
			fmt.Fprintf(&b, "%*s", blanks, "")
			blanks = 0
			if t.Colour && cell.Colour != "" {
				text = "\x1b[" + cell.Colour + "m" + text + "\x1b[0m"
			}
			b.WriteString(text)
		}
		blanks += pad + 2
	}
	return b.String()
}

// cut leaves n characters of s: its beginning, and its end, where addresses differ.
func cut(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	head := (n - 1) / 2
	return string(r[:head]) + "…" + string(r[len(r)-(n-1-head):])
}

// Printable replaces what could move a cursor.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// Count shows a number in at most five figures: from 100000 on in thousands and so on.
func Count(n int64) string {
	const units = "kMGTPE"
	if n < 100_000 {
		return fmt.Sprint(n)
	}
	f, i := float64(n)/1000, 0
	for f >= 999.5 && i < len(units)-1 {
		f /= 1000
		i++
	}
	return figures(f, units[i])
}
