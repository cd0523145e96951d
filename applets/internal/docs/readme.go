package docs

import (
	"fmt"
	"strings"

	"sockbox/applets/internal/cli"
)

// Table is the README's table of the applets.
func (Pages) Table(all []*cli.Applet) string {
	var b strings.Builder
	b.WriteString("| Applet | What it does |\n|---|---|\n")
	for _, a := range shown(all) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", a.Name, cell(a.Short))
	}
	return b.String()
}

// Statuses is the README's table of the exit statuses.
func (Pages) Statuses() string {
	var b strings.Builder
	b.WriteString("| Status | Meaning |\n|---|---|\n")
	for _, s := range Statuses {
		fmt.Fprintf(&b, "| %s | %s |\n", s.Code, cell(s.Means))
	}
	return b.String()
}

// cell keeps a bar from ending the cell.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
