package transcript

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/internal/wire"
)

// A Transcript prints what happens and counts what was expected: one line a
// step, or with Verbose all that goes over the wire. Everything goes through
// [Transcript.Line], which shortens secrets: none is printed whole.
type Transcript struct {
	W       io.Writer
	Verbose bool

	Steps  int // begun so far
	Checks int // made so far
	failed []string

	title string // of the step that has begun
	last  string // its last exchange
	bad   []string
}

// Line prints one line, or several, with secrets shortened.
func (t *Transcript) Line(format string, args ...any) {
	fmt.Fprintln(t.W, Shorten(fmt.Sprintf(format, args...)))
}

// Detail prints a line that only Verbose shows.
func (t *Transcript) Detail(format string, args ...any) {
	if t.Verbose {
		t.Line(format, args...)
	}
}

// Step begins the next numbered step. [Transcript.End] ends it.
func (t *Transcript) Step(format string, args ...any) {
	t.Steps++
	t.title, t.last, t.bad = fmt.Sprintf("%d. %s", t.Steps, fmt.Sprintf(format, args...)), "", nil
	if t.Verbose || t.Steps == 1 {
		t.Line("")
	}
	t.Detail("%s", t.title)
}

// End ends a step: its one line says whether all was as expected, with the last
// exchange, and below it what was not.
func (t *Transcript) End(ok bool) {
	if t.Verbose {
		return
	}
	mark := "✓"
	if !ok || len(t.bad) > 0 {
		mark = "✗"
	}
	line := t.title
	if t.last != "" {
		line += " (" + t.last + ")"
	}
	t.Line("%s %s", line, mark)
	for _, bad := range t.bad {
		t.Line("%s", bad)
	}
}

// Check prints an expectation and whether it was met.
func (t *Transcript) Check(ok bool, want string, got any) {
	t.Checks++
	if ok {
		t.Detail("   ✓ %s", want)
		return
	}
	line := fmt.Sprintf("   ✗ %s — but got %v", want, got)
	t.Detail("%s", line)
	t.bad = append(t.bad, line)
	t.failed = append(t.failed, Shorten(fmt.Sprintf("  step %d: %s — but got %v", t.Steps, want, got)))
}

// Failures are the expectations that were not met, one line each.
func (t *Transcript) Failures() []string { return t.failed }

// Exchange prints a request and its reply.
func (t *Transcript) Exchange(ex *wire.Exchange) {
	t.last = summary(ex)
	if !t.Verbose {
		return
	}
	t.Line("   → %s %s", ex.Method, ex.URL)
	t.Headers("     ", ex.Sent)
	t.body("     ", ex.Body)
	t.Line("   ← %d %s", ex.Status, http.StatusText(ex.Status))
	t.Headers("     ", ex.Header)
	t.body("     ", ex.Reply)
}

// summary is an exchange in few words.
func summary(ex *wire.Exchange) string {
	path := ex.URL
	if u, err := url.Parse(ex.URL); err == nil {
		path = u.EscapedPath()
	}
	text := fmt.Sprintf("%s %s %d", ex.Method, cut(path, 100), ex.Status)
	if refusal := ex.Refusal(); refusal != nil && refusal.Code != "" {
		text += " " + cut(string(refusal.Code), 60)
	}
	return text
}

// Headers prints headers, one line each.
func (t *Transcript) Headers(indent string, h http.Header) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		value := strings.Join(h[name], ", ")
		if name == userTokenHeader {
			value = begin(value)
		}
		t.Detail("%s%s: %s", indent, display(name), value)
	}
}

// userTokenHeader holds an operator's token, which has no form of its own.
const userTokenHeader = "X-Ath-User-Token"

// begin is the beginning of a secret.
func begin(secret string) string { return secret[:min(6, len(secret)/2)] + "…" }

// display spells header names as the protocol does.
func display(name string) string {
	switch name {
	case "X-Ath-Agent-Id":
		return "X-ATH-Agent-ID"
	case userTokenHeader:
		return "X-ATH-User-Token"
	case "Www-Authenticate":
		return "WWW-Authenticate"
	}
	return name
}

func (t *Transcript) body(indent string, body []byte) {
	if len(body) == 0 {
		return
	}
	const longestJSON, longestText = 4000, 400 // bytes, of what people may want to read
	var pretty bytes.Buffer
	if json.Indent(&pretty, body, indent, "  ") == nil {
		readable := strings.ReplaceAll(pretty.String(), `\u0026`, "&") // in URLs
		// Shortened first: a secret that is cut in two is no longer known as one.
		fmt.Fprintln(t.W, indent+cut(Shorten(foldLists(strings.TrimSpace(readable))), longestJSON))
		return
	}
	fmt.Fprintln(t.W, indent+cut(Shorten(string(body)), longestText))
}

func cut(text string, longest int) string {
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + "…"
}

var shortList = regexp.MustCompile(`\[\s*("[^"\\]*"(?:,\s*"[^"\\]*")*)\s*\]`)

// foldLists puts lists of strings, as scopes are, on one line each.
func foldLists(indented string) string {
	return shortList.ReplaceAllStringFunc(indented, func(list string) string {
		return strings.Join(strings.Fields(list), " ")
	})
}

// Browsing prints what the browser did.
func (t *Transcript) Browsing(steps []browser.Step) {
	for _, s := range steps {
		t.Detail("     %s", s)
	}
}

// secrets matches what must not be printed whole: ATH tokens, secrets, codes
// and session ids; the OAuth server's tokens and codes; attestations; what
// stands in HTTP Basic; states; clients' secrets at OAuth servers; and in URLs whatever
// is random or sealed.
var secrets = regexp.MustCompile(`\b(?:ath_(?:tk|rt|secret|code|sess)_[\w-]+|(?:user|refresh|code)_[A-Z2-7]{20,}|eyJ[\w-]+\.[\w-]+\.[\w-]+|Basic [\w+/]{12,}=*)|"(?:state|client_secret)": ?"[^"\\]{12,}"` +
	`|(?:state|code_challenge)=[\w%.~-]{12,}|\bheal/[\w.-]{12,}`)

// Shorten leaves the first characters of every secret in a text.
func Shorten(text string) string {
	return secrets.ReplaceAllStringFunc(text, func(secret string) string {
		if strings.HasPrefix(secret, "Basic ") {
			return secret[:10] + "…"
		}
		if strings.HasPrefix(secret, `"`) {
			value := strings.LastIndex(secret[:len(secret)-1], `"`) + 1
			short := Shorten(secret[value : len(secret)-1])
			if short == secret[value:len(secret)-1] {
				short = begin(short)
			}
			return secret[:value] + short + `"`
		}
		if handle, heals := strings.CutPrefix(secret, "heal/"); heals {
			return "heal/" + handle[:6] + "…"
		}
		name, value, inURL := strings.Cut(secret, "=")
		if inURL {
			return name + "=" + value[:6] + "…"
		}
		if strings.HasPrefix(secret, "ath_") {
			// The kind, which ends at the second _, and a little of the value.
			kind := strings.Index(secret[4:], "_") + 5
			return secret[:min(kind+4, len(secret))] + "…"
		}
		return secret[:8] + "…"
	})
}
