// Table shows what was measured.
//
//	table less|more UNIT TITLE <FIGURES
//
// FIGURES are lines "PROGRAM<tab>NUMBER", as many for a program as there were rounds. Each program
// gets a row, in the order in which they came: median, lowest, highest, and by how much sockbox, the
// median of its first row, is better than it (above 1.00) or worse.
package main

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 4 || os.Args[1] != "less" && os.Args[1] != "more" {
		return fmt.Errorf("usage: table less|more UNIT TITLE")
	}
	less := os.Args[1] == "less"
	var order []string
	figures := map[string][]float64{}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		program, text, _ := strings.Cut(in.Text(), "\t")
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return err
		}
		if figures[program] == nil {
			order = append(order, program)
		}
		figures[program] = append(figures[program], n)
	}
	if err := in.Err(); err != nil || len(order) == 0 {
		return fmt.Errorf("no figures (%v)", err)
	}
	var ours float64
	for _, program := range order {
		if strings.HasPrefix(program, "sockbox") {
			ours = median(figures[program])
			break
		}
	}

	fmt.Printf("\n%s (%s, %s is better)\n", os.Args[3], os.Args[2], os.Args[1])
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "median\tlow\thigh\tsockbox is better by\t  \t")
	for _, program := range order {
		f := figures[program]
		ratio := ours / median(f)
		if less {
			ratio = 1 / ratio
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%.2f\t  %s\n", number(median(f)), number(slices.Min(f)), number(slices.Max(f)), ratio, program)
	}
	return w.Flush()
}

func median(f []float64) float64 {
	f = slices.Sorted(slices.Values(f))
	if n := len(f); n%2 == 0 {
		return (f[n/2-1] + f[n/2]) / 2
	}
	return f[len(f)/2]
}

func number(n float64) string {
	if n >= 100 {
		return strconv.FormatFloat(n, 'f', 0, 64)
	}
	return strconv.FormatFloat(n, 'f', 2, 64)
}
