package differential

import (
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// oneReading reports whether a raw path, below its mount, says the same to
// every server that we can think of. It is the second opinion on what athd
// calls canonical, and shares no code with it: it reads the path in all these
// ways and compares. allowed are the delimiters that its API takes as parts of
// a segment where they are encoded: of "/#?%".
func oneReading(raw, allowed string) (reader string, ok bool) {
	may := func(c string) bool { return strings.Contains(allowed, c) }
	if may("%") && strings.Contains(raw, "%25") {
		// Who decodes twice must find nothing odd either.
		again := twice.ReplaceAllStringFunc(raw, func(s string) string {
			if len(s) == 3 {
				return "x" // a percent sign and no more
			}
			encoded := "%" + strings.ToUpper(s[3:])
			if d := loosely(encoded); plainest.MatchString(d) {
				return d
			}
			return encoded
		})
		return oneReading(again, allowed)
	}
	if may("/") {
		// Whoever decodes it must find nothing odd; who does not has a
		// longer segment.
		raw = strings.ReplaceAll(raw, "%2F", "/")
	}
	for _, mark := range []string{"%23", "%3F"} {
		if !may(loosely(mark)) {
			continue
		}
		// Who ends the path there must not find dots before it.
		for s := range strings.SplitSeq(raw, "/") {
			if head, _, cut := strings.Cut(s, mark); cut && head != "" && stripped(loosely(head)) == "" {
				return "ends at " + mark, false
			}
		}
		raw = strings.ReplaceAll(raw, mark, "x")
	}
	if !pchars.MatchString(raw) {
		return "RFC 3986", false
	}
	plain := strings.Split(raw, "/")
	for i, s := range plain {
		d, err := url.PathUnescape(s)
		if err != nil || !utf8.ValidString(d) || strings.ContainsFunc(d, unicode.IsControl) {
			return "text", false
		}
		if d == "" && i < len(plain)-1 {
			return "empty segment", false
		}
		plain[i] = d
	}
	for name, read := range readers {
		if got := strings.Split(read(raw), "/"); !slices.Equal(got, plain) {
			return name, false
		}
	}
	for i, s := range plain {
		if last := i == len(plain)-1; s != "" && stripped(s) == "" || s == "" && !last {
			return "stripping", false
		}
	}
	return "", true
}

// pchars: what RFC 3986 lets stand in a path, without ';', spelled as its
// section 6.2.2 wants it.
var pchars = regexp.MustCompile(`^(?:[A-Za-z0-9._~/-]|[!$&'()*+,:=@]|%(?:2[0-9A-CF]|3[A-F]|40|5[B-E]|60|7[BCD]|[089A-F][0-9A-F]|1[0-9A-F]|7F))*$`)

// readers turn a raw path into what a server makes of it, segments still
// joined by slashes.
var readers = map[string]func(string) string{
	"decodes before it splits": loosely,
	"decodes twice":            func(s string) string { return loosely(loosely(s)) },
	"takes \\ for /":           func(s string) string { return strings.ReplaceAll(loosely(s), `\`, "/") },
	"merges slashes":           func(s string) string { return slashes.ReplaceAllString(loosely(s), "/") },
	"resolves dots": func(s string) string {
		d := loosely(s)
		clean := strings.TrimPrefix(path.Clean("/"+d), "/")
		if strings.HasSuffix(d, "/") && clean != "" {
			clean += "/"
		}
		return clean
	},
	"cuts parameters": func(s string) string {
		return parameters.ReplaceAllString(loosely(parameters.ReplaceAllString(s, "")), "")
	},
	"ends at NUL, ? or #": func(s string) string {
		d := loosely(s)
		if i := strings.IndexAny(d, "\x00?#"); i >= 0 {
			d = d[:i]
		}
		return d
	},
	"drops control characters": func(s string) string {
		return strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return -1
			}
			return r
		}, loosely(s))
	},
	"takes over-long UTF-8": func(s string) string {
		return overlong.ReplaceAllStringFunc(loosely(s), func(o string) string { return string(rune(o[len(o)-2]&3<<6 | o[len(o)-1]&0x3f)) })
	},
	"knows %u": func(s string) string {
		return loosely(percentU.ReplaceAllStringFunc(s, func(u string) string {
			d, _ := url.PathUnescape("%" + u[4:])
			return d
		}))
	},
	"normalizes text": func(s string) string { return strings.Map(delimiterOf, loosely(s)) },
}

var (
	slashes    = regexp.MustCompile(`/+`)
	parameters = regexp.MustCompile(`;[^/]*`)
	overlong   = regexp.MustCompile(`[\xc0\xc1][\x80-\xbf]|\xe0[\x80-\x9f][\x80-\xbf]`)
	percentU   = regexp.MustCompile(`%u00[0-9A-Fa-f]{2}`)
	twice      = regexp.MustCompile(`%25(u[0-9A-Fa-f]{4}|[0-9A-Fa-f]{2})?`)
	plainest   = regexp.MustCompile(`^[A-Za-z0-9._~-]$`)
	hexPair    = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
)

// loosely decodes what is well-formed and leaves the rest.
func loosely(s string) string {
	return hexPair.ReplaceAllStringFunc(s, func(h string) string {
		d, _ := url.PathUnescape(h)
		return d
	})
}

// delimiterOf makes a delimiter of a character that has one for its
// compatibility form, and leaves every other as it is.
func delimiterOf(r rune) rune {
	if ascii := r - 0xfee0; 0xff01 <= r && r <= 0xff5e && strings.ContainsRune(`/\%?#;`, ascii) {
		return ascii
	}
	switch r {
	case 0x37e, 0xfe54, 0xfe14:
		return ';'
	case 0xfe68:
		return '\\'
	case 0xfe6a:
		return '%'
	case 0xfe56, 0xfe16:
		return '?'
	case 0xfe5f:
		return '#'
	case 0x2044, 0x2215:
		return '/'
	}
	return r
}

// stripped is a segment without dots, spaces and what cannot be seen: Windows
// strips the first two at its end, others the third anywhere.
func stripped(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(".+\u2024\u2025\u2026\uff0e\ufe52\u3002\uff61\ufe19\ufe30", r) || unicode.IsSpace(r) || unicode.In(r, unicode.Zs, unicode.Zl, unicode.Zp, unicode.Cf) {
			return -1
		}
		return r
	}, s)
}

// The second opinion knows the classes of attack, and leaves plain paths alone.
func TestOneReading(t *testing.T) {
	for _, p := range []string{"", "a", "a/b/", "a%20b", "caf%C3%A9", "@me/x:y", "..a", "a.", "%7Bid%7D", "%E2%80%A6x", "a%3Cb%3E"} {
		if reader, ok := oneReading(p, ""); !ok {
			t.Errorf("%q: refused for a server that %s", p, reader)
		}
	}
	for _, p := range []string{
		"/", "a//b", ".", "a/..", "...", "%2E%2E", "..%20/x", "%20", "a;b", "a%3Bb", "a%2Fb", "a%2fb", "a%5Cb", `a\b`, "%252E", "%2541", "a%00",
		"a%0D%0Ab", "%C0%AE", "%FF", "%u002e", "%zz", "%", "[a]", "%41", "%c3%a9", "a%EF%BC%8Fb", "%EF%BC%8E%EF%BC%8E", ".%E2%80%8B.", "a%CD%BEb", "%C2%85", "a b", "a?", "\xff",
	} {
		if _, ok := oneReading(p, ""); ok {
			t.Errorf("%q passes", p)
		}
	}
	for p, want := range map[string]bool{"a%2Fb": true, "a%2F": true, "%2Fa": false, "a%2F..%2Fb": false, "a%2F%2Fb": false, "a%2fb": false} {
		if _, ok := oneReading(p, "/"); ok != want {
			t.Errorf("%q with encoded slashes: %v", p, ok)
		}
	}
	for p, want := range map[string]bool{
		"a%23b": true, "%23b": true, "a%3F": true, "a%25": true, "100%25%3F": true, "%2523": true, "%2532": true, "a%252Eb": true, "%2525": true,
		"a%3fb": false, "..%23": false, ".%3Fb": false, "%252F": false, "%252f": false, "%252e%252E": false, "%253B": false, "%25252F": false,
		"%25C0%25AE": false, "%2500": false, "a%2Fb": false, "%255C": false, "..%2523": false, "%25u002e": false,
	} {
		if _, ok := oneReading(p, "#?%"); ok != want {
			t.Errorf("%q with encoded marks: %v", p, ok)
		}
	}
	for p, want := range map[string]bool{"a%23b": true, "a%3Fb": false, "%2523": false} {
		if _, ok := oneReading(p, "#"); ok != want {
			t.Errorf("%q with an encoded hash: %v", p, ok)
		}
	}
}
