package docs

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"sockbox/applets/internal/cli"
)

// The page of the protocols says what the comments beside the code of each say, in their words:
// protocols.txt is made of them by "make generate", and a test finds it stale.
//
//go:embed protocols.txt
var protocols string

// Protocols is the name of the page, behind "sockbox-".
const Protocols = "protocols"

const protocolsIntro = `
What the parts of sockbox say to each other and to other programs, byte for byte: enough
to write one of the ends anew. Whatever is not encrypted here can be read and changed by
whom it passes.

Bytes that are shown in hexadecimal follow a > when the one who connects sends them, and
a < when the other one does.`

// A Protocol is a section of the page: where its text is, and how it begins.
type Protocol struct{ Title, File, Begins string }

// Sources are the sections of the page, in their order.
var Sources = []Protocol{
	{"Buffers and plain peers", "buffer/frame.go", "The plain wire of a buffer"},
	{"The local socket", "buffer/wire.go", "The local wire: "},
	{"Links", "buffer/link/wire.go", "The wire of a link. "},
	{"The channel that proves a key", "applets/internal/secret/channel.go", "The channel: "},
	{"Triggers", "applets/internal/trigger/trigger.go", "The wire of a trigger. "},
	{"Pool and master", "applets/internal/fleet/wire.go", "The wire of a pool. "},
	{"Programs", "applets/internal/launch/execwire.go", "The wire of exec: "},
	{"Datagrams in a stream", "applets/internal/relay/frame.go", "How datagrams stand in a stream. "},
	{"Scripts of www", "applets/internal/web/cgi.go", "What a script can count on"},
	{"HTTP over UDP", "applets/internal/web/udp.go", "HTTP over UDP, "},
}

// protocolsPage is sockbox-protocols(7).
func protocolsPage(all []*cli.Applet) string {
	p := &page{}
	name := "sockbox-" + Protocols
	p.line(`.TH %s 7 "%s" "%s" "sockbox"`, escape(strings.ToUpper(name)), cli.Date(), escape("sockbox "+cli.Version()))
	p.line(".SH NAME")
	p.line(`%s \- what sockbox says on its sockets`, escape(name))
	p.line(".SH DESCRIPTION")
	p.text(protocolsIntro)
	for section := range strings.SplitSeq(strings.Trim(protocols, "\n"), "\n# ") {
		title, text, _ := strings.Cut(strings.TrimPrefix(section, "# "), "\n")
		p.line(".SH %s", escape(strings.ToUpper(title)))
		p.text(text)
	}
	p.line(".SH SEE ALSO")
	var names []string
	for _, a := range append([]*cli.Applet{find(all, "sockbox")}, shown(all)...) {
		if a != nil {
			names = append(names, pageName(a))
		}
	}
	slices.Sort(names)
	p.references(names, nil)
	return p.b.String()
}

// references are the last lines of a page: other pages of section 1, and of section 7.
func (p *page) references(ones, sevens []string) {
	var all []string
	for _, name := range ones {
		all = append(all, fmt.Sprintf(`.BR %s (1)`, escape(name)))
	}
	for _, name := range sevens {
		all = append(all, fmt.Sprintf(`.BR %s (7)`, escape(name)))
	}
	for i, line := range all {
		if i < len(all)-1 {
			line += ","
		}
		p.line("%s", line)
	}
}
