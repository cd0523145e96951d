package web

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// What a client asks of a representation: conditions and ranges (RFC 9110, 13 and 14), encodings
// (12.5.3). All of it is text from outside.

// A wish is what a request says about the representation that it would like. Fields that are
// missing are "".
type wish struct {
	ifMatch, ifNoneMatch       string
	ifModified, ifUnmodified   string
	ifRange, ranges, encodings string
}

// The outcomes of conditions.
type outcome int

const (
	send outcome = iota
	notModified
	conditionFailed
)

// judge evaluates the conditions of w for a GET or HEAD in the order of RFC 9110, 13.2.2. etag is
// the representation's, with its quotes, and modified when it was last changed; where either is
// missing it is "" or zero.
func (w *wish) judge(etag string, modified time.Time) outcome {
	switch {
	case w.ifMatch != "":
		if !listed(w.ifMatch, etag, true) {
			return conditionFailed
		}
	case w.ifUnmodified != "":
		if since, ok := parseDate(w.ifUnmodified); ok && !modified.IsZero() && seconds(modified) > seconds(since) {
			return conditionFailed
		}
	}
	switch {
	case w.ifNoneMatch != "":
		if listed(w.ifNoneMatch, etag, false) {
			return notModified
		}
	case w.ifModified != "":
		if since, ok := parseDate(w.ifModified); ok && !modified.IsZero() && seconds(modified) <= seconds(since) {
			return notModified
		}
	}
	return send
}

// partial tells whether a range is to be looked at: If-Range has to be the same representation, by
// strong comparison (RFC 9110, 13.1.5).
func (w *wish) partial(etag string, modified time.Time) bool {
	if w.ranges == "" || w.ifRange == "" {
		return w.ranges != ""
	}
	if strings.HasPrefix(w.ifRange, `"`) || strings.HasPrefix(w.ifRange, "W/") {
		return strongEqual(w.ifRange, etag)
	}
	when, ok := parseDate(w.ifRange)
	return ok && !modified.IsZero() && seconds(when) == seconds(modified)
}

func seconds(t time.Time) int64 { return t.Unix() }

// The forms of a date (RFC 9110, 5.6.7). The first is the one that is used.
const dateForm = "Mon, 02 Jan 2006 15:04:05 GMT"

func parseDate(s string) (time.Time, bool) {
	for _, form := range []string{dateForm, "Monday, 02-Jan-06 15:04:05 GMT", time.ANSIC} {
		if t, err := time.Parse(form, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// listed tells whether etag is in the list of a condition, by strong or by weak comparison. A list
// that cannot be read holds what was read of it.
func listed(list, etag string, strong bool) bool {
	list = strings.TrimSpace(list)
	if list == "*" {
		return true // there is a representation: this is about one
	}
	for list != "" {
		tag, rest, ok := cutTag(list)
		if !ok {
			return false
		}
		if strong && strongEqual(tag, etag) || !strong && weakEqual(tag, etag) {
			return true
		}
		list = strings.TrimLeft(rest, " \t,")
	}
	return false
}

// cutTag takes an entity tag (RFC 9110, 8.8.3) off the front of s.
func cutTag(s string) (tag, rest string, ok bool) {
	from := 0
	if strings.HasPrefix(s, "W/") {
		from = 2
	}
	if len(s) <= from || s[from] != '"' {
		return "", "", false
	}
	for i := from + 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return s[:i+1], s[i+1:], true
		case c <= ' ' || c == 0x7f:
			return "", "", false
		}
	}
	return "", "", false
}

func strongEqual(a, b string) bool { return a == b && a != "" && a[0] == '"' }

func weakEqual(a, b string) bool {
	a, b = strings.TrimPrefix(a, "W/"), strings.TrimPrefix(b, "W/")
	return a == b && a != ""
}

// A span is a part of a file.
type span struct{ from, size int64 }

// maxRanges is how many parts one answer may have. More are asked for by nobody who means well
// (RFC 9110, 17.15), and the whole is sent.
const maxRanges = 32

// parseRanges reads a Range field for a representation of size bytes (RFC 9110, 14.1.2). It returns
// nil, true where the field has to be ignored: another unit, a form that is none, more than
// maxRanges, or parts that come to more than the whole. ok is false where nothing of it is there (416).
func parseRanges(field string, size int64) (spans []span, ok bool) {
	set, found := strings.CutPrefix(field, "bytes=")
	if !found {
		return nil, true
	}
	any, total := false, int64(0)
	for item := range strings.SplitSeq(set, ",") {
		item = strings.Trim(item, " \t")
		if item == "" {
			continue // empty elements of lists are allowed (5.6.1)
		}
		first, last, found := strings.Cut(item, "-")
		if !found {
			return nil, true
		}
		any = true
		var s span
		if first == "" {
			n, good := parseCount(last)
			if !good {
				return nil, true
			}
			s.size = min(n, size)
			s.from = size - s.size
		} else {
			from, good := parseCount(first)
			if !good {
				return nil, true
			}
			to := int64(math.MaxInt64)
			if last != "" {
				if to, good = parseCount(last); !good || to < from {
					return nil, true
				}
			}
			if from >= size {
				continue
			}
			s.from, s.size = from, min(to, size-1)-from+1
		}
		if s.size == 0 {
			continue
		}
		total += s.size
		if spans = append(spans, s); len(spans) > maxRanges {
			return nil, true
		}
	}
	switch {
	case !any:
		return nil, true
	case len(spans) == 0:
		return nil, false
	case total > size:
		return nil, true
	}
	return spans, true
}

// parseCount reads digits; what is past an int64 is its end.
func parseCount(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		n = math.MaxInt64
	}
	return n, true
}

// contentRange is the field that tells which part s is of size bytes.
func (s span) contentRange(size int64) string {
	b := append(make([]byte, 0, 64), "bytes "...)
	b = strconv.AppendInt(b, s.from, 10)
	b = append(b, '-')
	b = strconv.AppendInt(b, s.from+s.size-1, 10)
	b = append(b, '/')
	return string(strconv.AppendInt(b, size, 10))
}

// An encoding is how a representation is compressed. The values are in the order in which they
// are preferred where a client likes them equally well.
type encoding int

const (
	brotli encoding = iota
	zstd
	gzipped
	identity
	encodings // how many there are
)

// Names of encodings, in fields and as the ends of names of files.
var (
	encodingNames = [encodings]string{"br", "zstd", "gzip", ""}
	encodingEnds  = [encodings]string{".br", ".zst", ".gz", ""}
)

// choose returns the encoding that a client likes best of those that are there; identity is always.
// It follows RFC 9110, 12.5.3, but for one thing: a client that refuses everything gets identity.
func choose(field string, there [encodings]bool) encoding {
	if field == "" {
		return identity
	}
	var quality [encodings]int // in thousandths; -1: not told
	for i := range quality {
		quality[i] = -1
	}
	star := -1
	for item := range strings.SplitSeq(field, ",") {
		name, params, _ := strings.Cut(item, ";")
		name = strings.ToLower(strings.Trim(name, " \t"))
		q := parseQuality(params)
		switch name {
		case "x-gzip":
			name = "gzip"
		case "*":
			star = q
			continue
		case "identity":
			quality[identity] = q
			continue
		case "":
			continue
		}
		for e := range identity {
			if encodingNames[e] == name {
				quality[e] = q
			}
		}
	}
	best, most := identity, quality[identity]
	if most < 0 {
		if most = star; most < 0 {
			most = 1 // acceptable, but what was named is meant to be used
		}
	}
	for e := identity - 1; e >= 0; e-- {
		q := quality[e]
		if q < 0 {
			q = star
		}
		if there[e] && q > 0 && q >= most {
			best, most = e, q
		}
	}
	return best
}

// parseQuality reads a weight (RFC 9110, 12.4.2) in thousandths; what is none counts as 1, as if it
// were missing.
func parseQuality(params string) int {
	for p := range strings.SplitSeq(params, ";") {
		name, value, ok := strings.Cut(strings.Trim(p, " \t"), "=")
		if !ok || name != "q" && name != "Q" {
			continue
		}
		whole, part, _ := strings.Cut(value, ".")
		if len(part) > 3 || whole != "0" && whole != "1" {
			return 1000
		}
		n, good := parseCount((whole + part + "000")[:4])
		if !good {
			return 1000
		}
		return int(min(n, 1000))
	}
	return 1000
}
