package web

import (
	"cmp"
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The page of a folder. It works without a script: the columns are sorted by links.

const (
	maxListed = 5000 // entries of a folder that are shown
	zipQuery  = "zip"
)

// An item is a line of a listing.
type item struct {
	name   string
	folder bool
	size   int64
	time   time.Time
}

// items returns what is in the folder, as far as a client may see it; more tells that there is more.
func (s *site) items(folder string) (list []item, more bool, err error) {
	f, err := s.root().Open(folder)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	var at []string
	if folder != "." {
		at = strings.Split(folder, "/")
	}
	for {
		entries, err := f.ReadDir(256)
		for _, e := range entries {
			name := e.Name()
			if name[0] == '.' || strange(name) {
				continue
			}
			if len(list) == maxListed {
				return list, true, nil
			}
			var info fs.FileInfo
			switch mode := e.Type(); {
			case mode == 0, mode.IsDir():
				info, err = s.root().Lstat(path.Join(folder, name))
			case mode&fs.ModeSymlink != 0:
				var to place
				to, err = s.walk(append(at[:len(at):len(at)], name))
				info = to.info
			default:
				continue
			}
			if err != nil || info == nil {
				continue
			}
			list = append(list, item{name: name, folder: info.IsDir(), size: info.Size(), time: info.ModTime()})
		}
		if errors.Is(err, io.EOF) {
			return list, false, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
}

// An order is how a listing is sorted, as its query says.
type order struct {
	by   string // "name", "size" or "time"
	down bool
}

func orderOf(q url.Values) order {
	o := order{by: q.Get("sort"), down: q.Get("order") == "desc"}
	if o.by != "size" && o.by != "time" {
		o.by = "name"
	}
	return o
}

// sort sorts by o, folders first, and what is alike by name.
func (o order) sort(list []item) {
	slices.SortFunc(list, func(a, b item) int {
		if a.folder != b.folder {
			if a.folder {
				return -1
			}
			return 1
		}
		c := 0
		switch o.by {
		case "size":
			if !a.folder {
				c = cmp.Compare(a.size, b.size)
			}
		case "time":
			c = a.time.Compare(b.time)
		default:
			c = natural(a.name, b.name)
		}
		if o.down {
			c = -c
		}
		if c == 0 {
			c = natural(a.name, b.name)
		}
		return c
	})
}

// natural compares names as people do: without regard to case, and numbers by their value.
func natural(a, b string) int {
	x, y := strings.ToLower(a), strings.ToLower(b)
	for x != "" && y != "" {
		n, m := digits(x), digits(y)
		if n > 0 && m > 0 {
			p, q := strings.TrimLeft(x[:n], "0"), strings.TrimLeft(y[:m], "0")
			if c := cmp.Or(cmp.Compare(len(p), len(q)), cmp.Compare(p, q)); c != 0 {
				return c
			}
			x, y = x[n:], y[m:]
			continue
		}
		if x[0] != y[0] {
			return cmp.Compare(x[0], y[0])
		}
		x, y = x[1:], y[1:]
	}
	return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(a, b))
}

func digits(s string) int {
	n := 0
	for n < len(s) && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	return n
}

// list answers with what is in the folder t.
func (s *Server) list(w *response, r *http.Request, at *site, t target, p *peer) {
	list, more, err := at.items(t.file)
	if err != nil {
		s.fail(w, r, at, statusOf(err), "")
		return
	}
	o := orderOf(r.URL.Query())
	o.sort(list)
	h := w.Header()
	h.Set("Vary", "Accept")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	accept := r.Header.Get("Accept")
	var page string
	if strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html") {
		h.Set("Content-Type", "application/json")
		page = jsonListing(list)
	} else {
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", pagePolicy)
		page = htmlListing(r.URL.Path, list, more, o, s.o.Zip, s.o.Upload && p.user != "")
	}
	h.Set("Content-Length", strconv.Itoa(len(page)))
	if r.Method != http.MethodHead {
		io.WriteString(w, page)
	}
}

func jsonListing(list []item) string {
	b := []byte("[")
	for i, it := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, "\n{\"name\":"...)
		b = appendJSONString(b, it.name)
		kind := "file"
		if it.folder {
			kind = "folder"
		}
		b = fmt.Appendf(b, `,"type":"%s"`, kind)
		if !it.folder {
			b = fmt.Appendf(b, `,"size":%d`, it.size)
		}
		b = fmt.Appendf(b, `,"time":"%s"}`, it.time.UTC().Format(time.RFC3339))
	}
	return string(append(b, "\n]\n"...))
}

// pagePolicy lets our own pages do nothing but look as they do and send their form.
const pagePolicy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

const pageStyle = `:root{color-scheme:light dark;--back:#fff;--text:#1c1e21;--dim:#62676d;--line:#8883;--link:#0550b8}
@media(prefers-color-scheme:dark){:root{--back:#15171a;--text:#e4e6e8;--dim:#9aa0a6;--link:#82b7ff}}
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:1.5rem auto;padding:0 1rem;background:var(--back);color:var(--text)}
h1{font-size:1.3rem;font-weight:600;margin:.5rem;overflow-wrap:anywhere}
a{color:var(--link);text-decoration:none}a:hover,a:focus{text-decoration:underline}
table{width:100%;border-collapse:collapse}
th{text-align:left;font-weight:600;position:sticky;top:0;background:var(--back);box-shadow:inset 0 -1px var(--line)}th a{color:inherit}
th,td{padding:.3rem .5rem;vertical-align:top}td{border-bottom:1px solid var(--line)}
th:first-child{width:100%}td:first-child{overflow-wrap:anywhere}td:first-child a{display:block}
.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
td.n,footer{color:var(--dim)}tbody tr:hover{background:#8881}
.d a{font-weight:600}footer,form{margin:1rem .5rem}
button,input{font:inherit}
@media(max-width:32rem){.t{display:none}}
`

func pageHead(b *strings.Builder, title string) {
	fmt.Fprintf(b, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"+
		"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>%s</title>\n<style>%s</style>\n</head>\n<body>\n",
		html.EscapeString(shown(title)), pageStyle)
}

func errorPage(text string) string {
	var b strings.Builder
	pageHead(&b, text)
	fmt.Fprintf(&b, "<h1>%s</h1>\n</body>\n</html>\n", html.EscapeString(shown(text)))
	return b.String()
}

// shown is a name as UTF-8, as far as it is.
func shown(name string) string { return strings.ToValidUTF8(name, "\uFFFD") }

func htmlListing(at string, list []item, more bool, o order, zip, upload bool) string {
	var b strings.Builder
	pageHead(&b, at)
	b.WriteString("<h1>")
	crumbs(&b, at)
	b.WriteString("</h1>\n<table>\n<thead><tr>")
	for _, column := range []struct{ by, title, class string }{{"name", "Name", ""}, {"size", "Size", "n"}, {"time", "Changed", "n t"}} {
		to, mark, sorted := "asc", "", ""
		if column.by == o.by {
			mark, sorted = " \u2191", ` aria-sort="ascending"`
			if o.down {
				mark, sorted = " \u2193", ` aria-sort="descending"`
			} else {
				to = "desc"
			}
		} else if column.by != "name" {
			to = "desc" // the largest and the latest are what people look for
		}
		fmt.Fprintf(&b, `<th class="%s"%s><a href="?sort=%s&amp;order=%s">%s%s</a></th>`, column.class, sorted, column.by, to, column.title, mark)
	}
	b.WriteString("</tr></thead>\n<tbody>\n")
	if strings.Trim(at, "/") != "" {
		b.WriteString(`<tr class="d"><td><a href="../">../</a></td><td class="n"></td><td class="n t"></td></tr>` + "\n")
	}
	files, folders, total := 0, 0, int64(0)
	for _, it := range list {
		name, class, size := it.name, "", ""
		if it.folder {
			folders++
			name += "/"
			class = ` class="d"`
		} else {
			files++
			total += it.size
			size = fmt.Sprintf(`<span title="%d bytes">%s</span>`, it.size, sizeText(it.size))
		}
		when := it.time.UTC()
		fmt.Fprintf(&b, `<tr%s><td><a href="%s">%s</a></td><td class="n">%s</td><td class="n t"><time datetime="%s">%s</time></td></tr>`+"\n",
			class, escapeName(name, true), html.EscapeString(shown(name)), size, when.Format(time.RFC3339), when.Format("2006-01-02 15:04"))
	}
	b.WriteString("</tbody>\n</table>\n<footer>")
	if len(list) == 0 {
		b.WriteString("There is nothing in this folder")
	} else {
		fmt.Fprintf(&b, "%s, %s, %s", counted(folders, "folder"), counted(files, "file"), sizeText(total))
		if more {
			b.WriteString("; there are more, of which nothing is shown")
		}
		b.WriteString("; times are UTC")
		if zip {
			fmt.Fprintf(&b, ` &middot; <a href="?%s" download>all as zip</a>`, zipQuery)
		}
	}
	b.WriteString("</footer>\n")
	if upload {
		b.WriteString(`<form method="post" enctype="multipart/form-data"><input type="file" name="file" multiple required> <button>Upload</button></form>` + "\n")
	}
	b.WriteString("</body>\n</html>\n")
	return b.String()
}

func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}

// crumbs writes the path with a link for each folder above.
func crumbs(b *strings.Builder, at string) {
	names := strings.FieldsFunc(at, func(r rune) bool { return r == '/' })
	if len(names) == 0 {
		b.WriteString("/")
		return
	}
	fmt.Fprintf(b, `<a href="%s">/</a>`, strings.Repeat("../", len(names)))
	for i, name := range names {
		text := html.EscapeString(shown(name)) + "/"
		if up := len(names) - 1 - i; up > 0 {
			text = fmt.Sprintf(`<a href="%s">%s</a>`, strings.Repeat("../", up), text)
		}
		b.WriteString(text)
	}
}

// sizeText is a number of bytes as people read it.
func sizeText(n int64) string {
	if n < 1024 {
		return counted(int(n), "byte")
	}
	v, unit := float64(n)/1024, 0
	const units = "KMGTPE"
	for v >= 1023.5 && unit < len(units)-1 {
		v, unit = v/1024, unit+1
	}
	if v < 9.95 {
		return fmt.Sprintf("%.1f %ciB", v, units[unit])
	}
	return fmt.Sprintf("%.0f %ciB", v, units[unit])
}
