package reply

import (
	"net/url"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
)

// Limits of what is read of one header: what is more is left as it came.
const (
	maxLinkBytes   = 16 << 10
	maxLinkTargets = 256
)

// links rewrites what leads to a provider's API, so that it leads through Envoy. The
// zero links rewrites nothing.
type links struct {
	scheme string
	host   ath.Host
	base   string // the API's base path, with both slashes
	to     string // the URL of that base here, with a slash at its end
}

// linksOf returns those of a provider, if it has its links rewritten.
func linksOf(p *provider.Provider, publicURL string) links {
	if p == nil || !p.RewriteLinks || p.App != nil || p.APIBase == nil {
		return links{}
	}
	host, err := ath.HostOf(p.APIBase)
	if err != nil {
		return links{}
	}
	return links{
		scheme: p.APIBase.Scheme, host: host, base: strings.TrimRight(p.APIBase.EscapedPath(), "/") + "/",
		to: publicURL + ath.ProxyPath + p.ID + "/",
	}
}

// target rewrites an absolute URL below the API's base, and reports whether it is
// one. Relative references, which the client resolves against what it has asked, and
// other hosts, schemes and paths are none; nor is what another reader could take for
// another path.
func (l links) target(ref string) (string, bool) {
	if l.host.IsZero() || len(ref) > maxLinkBytes || !ath.IsVisible(ref) || strings.ContainsAny(ref, "\"<>\\^`{|}") {
		return "", false
	}
	scheme, rest, absolute := strings.Cut(ref, "://")
	if !absolute || !strings.EqualFold(scheme, l.scheme) {
		return "", false
	}
	authority, path, suffix := rest, "", ""
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		authority, path = rest[:end], rest[end:]
	}
	if end := strings.IndexAny(path, "?#"); end >= 0 {
		path, suffix = path[:end], path[end:]
	}
	if !l.here(authority) {
		return "", false
	}
	below, ok := strings.CutPrefix(path, l.base)
	if !ok {
		if below = ""; path+"/" != l.base {
			return "", false
		}
	}
	if !plain(below) {
		return "", false
	}
	return l.to + below + suffix, true
}

// here reports whether an authority is that of the API.
func (l links) here(authority string) bool {
	if authority == "" || strings.ContainsAny(authority, "@%") {
		return false
	}
	u, err := url.Parse(l.scheme + "://" + authority)
	if err != nil || u.Host != authority {
		return false
	}
	host, err := ath.HostOf(u)
	return err == nil && host == l.host
}

// plain reports whether no reader takes a path for one that is elsewhere.
func plain(path string) bool {
	lower := strings.ToLower(path)
	for _, odd := range []string{"%2e", "%5c", "%25"} {
		if strings.Contains(lower, odd) {
			return false
		}
	}
	for segment := range strings.SplitSeq(strings.ReplaceAll(lower, "%2f", "/"), "/") {
		if name, _, _ := strings.Cut(segment, ";"); name == "." || name == ".." {
			return false
		}
	}
	return true
}

// header rewrites the targets of a Link header (RFC 8288, section 3), and nothing
// else of it. One that is not written as it must be is left as it came, whole.
func (l links) header(value string) (string, bool) {
	if l.host.IsZero() || len(value) > maxLinkBytes {
		return "", false
	}
	var out strings.Builder
	r := linkReader{text: value}
	copied, changed := 0, false
	for range maxLinkTargets {
		from, to, more, ok := r.next()
		switch {
		case !ok:
			return "", false
		case !more:
			out.WriteString(value[copied:])
			return out.String(), changed
		}
		if now, ours := l.target(value[from:to]); ours {
			out.WriteString(value[copied:from])
			out.WriteString(now)
			copied, changed = to, true
		}
	}
	return "", false
}

// A linkReader reads link values one after another.
type linkReader struct {
	text string
	at   int
}

// next returns where the next target stands. more is false at the end; ok is false
// where the text is no Link header.
func (r *linkReader) next() (from, to int, more, ok bool) {
	for r.space(); r.is(','); r.space() { // empty elements count for nothing
		r.at++
	}
	if r.at == len(r.text) {
		return 0, 0, false, true
	}
	if !r.is('<') {
		return 0, 0, false, false
	}
	from = r.at + 1
	length := strings.IndexByte(r.text[from:], '>')
	if length < 0 {
		return 0, 0, false, false
	}
	to = from + length
	r.at = to + 1
	for r.space(); r.is(';'); r.space() {
		r.at++
		if !r.parameter() {
			return 0, 0, false, false
		}
	}
	return from, to, true, r.at == len(r.text) || r.is(',')
}

// parameter reads what stands behind a semicolon: a name, with a value or without.
func (r *linkReader) parameter() bool {
	r.space()
	if r.at == len(r.text) || r.is(';') || r.is(',') {
		return true // none
	}
	start := r.at
	for r.at < len(r.text) && ath.IsToken(r.text[r.at:r.at+1]) {
		r.at++
	}
	if r.at == start {
		return false
	}
	if r.space(); !r.is('=') {
		return true
	}
	r.at++
	if r.space(); r.is('"') {
		return r.quoted()
	}
	start = r.at
	for r.at < len(r.text) && ath.IsVisible(r.text[r.at:r.at+1]) && !strings.ContainsAny(r.text[r.at:r.at+1], "\",;<>\\") {
		r.at++
	}
	return r.at > start
}

// quoted reads a quoted string (RFC 9110, section 5.6.4).
func (r *linkReader) quoted() bool {
	for r.at++; r.at < len(r.text); r.at++ {
		switch r.text[r.at] {
		case '"':
			r.at++
			return true
		case '\\':
			r.at++
		}
	}
	return false
}

func (r *linkReader) space() {
	for r.at < len(r.text) && (r.text[r.at] == ' ' || r.text[r.at] == '\t') {
		r.at++
	}
}

func (r *linkReader) is(c byte) bool { return r.at < len(r.text) && r.text[r.at] == c }
