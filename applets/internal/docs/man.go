package docs

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sockbox/applets/internal/cli"
)

// Pages are written in man(7), which groff, mandoc and the old troffs all know. Nothing of ours
// is markup to it: every text goes through escape.

// Man is the man page of the applet name, of sockbox, or of the protocols. The page of read is called sockbox-read:
// read(1) and write(1) are the system's.
func (Pages) Man(name string, all []*cli.Applet) (string, error) {
	if name == Protocols {
		return protocolsPage(all), nil
	}
	a := find(all, name)
	if a == nil {
		return "", fmt.Errorf("%s: no such page", name)
	}
	p := &page{}
	p.line(`.TH %s 1 "%s" "%s" "sockbox"`, escape(strings.ToUpper(pageName(a))), cli.Date(), escape("sockbox "+cli.Version()))

	p.line(".SH NAME")
	p.line(`%s \- %s`, escape(pageName(a)), escape(lowerFirst(a.Short)))

	p.line(".SH SYNOPSIS")
	for i, form := range forms(a.Operands) {
		if i > 0 {
			p.line(".br")
		}
		p.line("%s [%s]%s", bold(called(a)), italic("options"), italicWords(form))
	}
	p.line(".SH DESCRIPTION")
	p.text(a.Long)

	if name == "sockbox" {
		p.line(".SH APPLETS")
		for _, a := range shown(all) {
			p.tagged(bold(a.Name), a.Short+".")
		}
	}
	p.line(".SH OPTIONS")
	for _, o := range options(a) {
		p.tagged(optionTag(o), o.help())
	}
	if a.JSON != nil {
		p.line(".SH JSON")
		p.text("The names of the fields are stable; there may be more of them in later versions. A field that is" +
			" marked with a star is left out where it is empty.")
		for _, f := range a.JSON() {
			p.tagged(bold(f.Name)+map[bool]string{true: "*"}[f.Optional]+" ("+escape(f.Type)+")", f.Text)
		}
	}
	p.line(".SH EXIT STATUS")
	p.exits(a)
	p.line(".SH ENVIRONMENT")
	p.tagged(bold("SOCKBOX_DIR"), "The runtime directory, where the buffers are. Without it that is the"+
		" folder sockbox in XDG_RUNTIME_DIR, or else /tmp/sockbox-UID.")
	if list := lines(a.Example); len(list) > 0 {
		p.line(".SH EXAMPLES")
		p.verbatim(list)
	}
	p.line(".SH SEE ALSO")
	p.seeAlso(a, all)
	return p.b.String(), nil
}

func pageName(a *cli.Applet) string { return strings.ReplaceAll(called(a), " ", "-") }

type page struct{ b strings.Builder }

func (p *page) line(format string, args ...any) { fmt.Fprintf(&p.b, format+"\n", args...) }

// text writes paragraphs. Those whose lines are indented are shown as they are.
func (p *page) text(text string) {
	first := true
	for block := range strings.SplitSeq(strings.Join(lines(text), "\n"), "\n\n") {
		if block = strings.Trim(block, "\n"); block == "" {
			continue
		}
		if !first {
			p.line(".PP")
		}
		first = false
		if strings.HasPrefix(block, " ") || strings.HasPrefix(block, "\t") {
			p.verbatim(dedent(strings.Split(block, "\n")))
			continue
		}
		p.fill(block)
	}
}

func (p *page) verbatim(list []string) {
	p.line(".RS 4\n.nf")
	for _, line := range list {
		p.line("%s", escape(line))
	}
	p.line(".fi\n.RE")
}

func (p *page) tagged(tag, text string) {
	p.line(".TP\n%s", tag)
	p.fill(text)
}

// fill writes text in lines of less than 80 bytes, which is what mandoc's lint asks for.
func (p *page) fill(text string) {
	line := ""
	for _, word := range strings.Fields(text) {
		word = escapeWord(word)
		if line != "" && len(line)+1+len(word) >= 80 {
			p.line("%s", noRequest(line))
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	p.line("%s", noRequest(line))
}

// exits is the common table with what a says of its own statuses in it.
func (p *page) exits(a *cli.Applet) {
	for _, s := range Statuses {
		means := s.Means
		for code, own := range a.Exits {
			if fmt.Sprint(code) == s.Code {
				means = own
			}
		}
		p.tagged(bold(s.Code), means)
	}
	for _, code := range slices.Sorted(maps.Keys(a.Exits)) {
		if !slices.ContainsFunc(Statuses, func(s Status) bool { return s.Code == fmt.Sprint(code) }) {
			p.tagged(bold(fmt.Sprint(code)), a.Exits[code])
		}
	}
}

func (p *page) seeAlso(a *cli.Applet, all []*cli.Applet) {
	var pages []string
	for _, other := range append([]*cli.Applet{find(all, "sockbox")}, shown(all)...) {
		if other != nil && other.Name != a.Name {
			pages = append(pages, pageName(other))
		}
	}
	slices.Sort(pages)
	p.references(pages, []string{"sockbox-" + Protocols})
}

func optionTag(o option) string {
	tag := make([]string, 0, 2)
	for _, name := range o.names() {
		tag = append(tag, bold(name))
	}
	text := strings.Join(tag, ", ")
	switch {
	case o.optional:
		text += "[=" + italic(o.value) + "]"
	case o.value != "":
		text += " " + italic(o.value)
	}
	return text
}

func bold(s string) string   { return `\fB` + escape(s) + `\fR` }
func italic(s string) string { return `\fI` + escape(s) + `\fR` }

// italicWords sets the words of a synopsis, each after a space, with brackets and dots upright.
func italicWords(form string) string {
	var b strings.Builder
	for _, word := range strings.Fields(form) {
		b.WriteByte(' ')
		core := strings.Trim(word, "[].…")
		before, after, _ := strings.Cut(word, core)
		b.WriteString(escape(before) + italic(core) + escape(after))
	}
	return b.String()
}

// escape makes s stand for itself in roff, as one line. A hyphen and the quotes become those that
// can be pasted into a shell, which roff would otherwise set as typographic ones.
func escape(s string) string { return noRequest(escapeWord(s)) }

// noRequest keeps a dot at the beginning of a line from making it a request.
func noRequest(line string) string {
	if strings.HasPrefix(line, ".") {
		return `\&` + line
	}
	return line
}

func escapeWord(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\\':
			b.WriteString(`\e`)
		case r == '-':
			b.WriteString(`\-`)
		case r == '\'':
			b.WriteString(`\(aq`)
		case r == '`':
			b.WriteString(`\(ga`)
		case r == '"':
			b.WriteString(`\(dq`)
		case r == '^':
			b.WriteString(`\(ha`)
		case r == '~':
			b.WriteString(`\(ti`)
		case r == '\n' || r == '\t':
			b.WriteByte(' ')
		case r >= 0x80:
			fmt.Fprintf(&b, `\[u%04X]`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// dedent takes away the indent that all lines share.
func dedent(list []string) []string {
	shared := -1
	for _, line := range list {
		if n := len(line) - len(strings.TrimLeft(line, " \t")); line != "" && (shared < 0 || n < shared) {
			shared = n
		}
	}
	out := make([]string, len(list))
	for i, line := range list {
		out[i] = line[min(len(line), max(shared, 0)):]
	}
	return out
}
