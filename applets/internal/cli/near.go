package cli

import (
	"slices"
	"strings"
)

// nearest returns up to three of names that somebody who typed word may have meant, the most
// likely first: those it begins, and those that few slips of the finger away.
func nearest(word string, names []string) []string {
	type found struct {
		name string
		far  int
	}
	limit := min(2, 1+len(word)/4)
	var near []found
	for _, name := range names {
		far := distance(word, name)
		if len(word) > 1 && strings.HasPrefix(name, word) {
			far = 1
		}
		if far <= limit && far < len(word) {
			near = append(near, found{name, far})
		}
	}
	slices.SortStableFunc(near, func(a, b found) int { return a.far - b.far })
	var out []string
	for _, f := range near[:min(3, len(near))] {
		out = append(out, f.name)
	}
	return out
}

// distance is the number of letters to insert, drop, replace or swap with the next one to get
// from a to b.
func distance(a, b string) int {
	before, last := []int(nil), make([]int, len(b)+1) // the rows for i-2 and i-1 letters of a
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := last[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(change, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
