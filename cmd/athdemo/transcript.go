package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/athd/athd/cmd/athdemo/agent"
	"github.com/athd/athd/cmd/athdemo/browser"
	"github.com/athd/athd/cmd/athdemo/shop"
)

// A transcript prints what happens and keeps count of what was expected.
// Everything goes through line, which shortens secrets: none is printed
// whole.
type transcript struct {
	w       io.Writer
	verbose bool

	steps  int
	checks int
	failed []string
}

// line prints one line, or several, with secrets shortened.
func (t *transcript) line(format string, args ...any) {
	fmt.Fprintln(t.w, shorten(fmt.Sprintf(format, args...)))
}

// step begins the next numbered step.
func (t *transcript) step(format string, args ...any) {
	t.steps++
	t.line("\n%d. %s", t.steps, fmt.Sprintf(format, args...))
}

// check prints an expectation and whether it was met.
func (t *transcript) check(ok bool, want string, got any) {
	t.checks++
	if ok {
		t.line("   ✓ %s", want)
		return
	}
	t.line("   ✗ %s — but got %v", want, got)
	t.failed = append(t.failed, shorten(fmt.Sprintf("  step %d: %s — but got %v", t.steps, want, got)))
}

func (t *transcript) failures() []string { return t.failed }

// The headers that are worth a line; -v shows all.
var (
	sentHeaders  = []string{"Authorization", "X-Ath-Agent-Id", "Content-Type"}
	replyHeaders = []string{"Content-Type", "Www-Authenticate", "Retry-After", "Location"}
)

// exchange prints a request and its reply.
func (t *transcript) exchange(ex *agent.Exchange) {
	t.line("   → %s %s", ex.Method, ex.URL)
	t.headers("     ", ex.Sent, sentHeaders)
	t.body("     ", ex.Body)
	t.line("   ← %d %s", ex.Status, http.StatusText(ex.Status))
	t.headers("     ", ex.Header, replyHeaders)
	t.body("     ", ex.Reply)
}

func (t *transcript) headers(indent string, h http.Header, chosen []string) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if t.verbose || slices.Contains(chosen, name) {
			t.line("%s%s: %s", indent, display(name), strings.Join(h[name], ", "))
		}
	}
}

// display spells header names as the protocol does.
func display(name string) string {
	switch name {
	case "X-Ath-Agent-Id":
		return "X-ATH-Agent-ID"
	case "Www-Authenticate":
		return "WWW-Authenticate"
	}
	return name
}

func (t *transcript) body(indent string, body []byte) {
	if len(body) == 0 {
		return
	}
	var pretty bytes.Buffer
	if json.Indent(&pretty, body, indent, "  ") == nil {
		readable := strings.ReplaceAll(pretty.String(), `\u0026`, "&") // in URLs
		t.line("%s%s", indent, foldLists(strings.TrimSpace(readable)))
		return
	}
	const longest = 400
	text := string(body)
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "") + "…"
	}
	t.line("%s%s", indent, text)
}

var shortList = regexp.MustCompile(`\[\s*("[^"\\]*"(?:,\s*"[^"\\]*")*)\s*\]`)

// foldLists puts lists of strings, as scopes are, on one line each.
func foldLists(indented string) string {
	return shortList.ReplaceAllStringFunc(indented, func(list string) string {
		return strings.Join(strings.Fields(list), " ")
	})
}

// browsing prints what the browser did.
func (t *transcript) browsing(steps []browser.Step) {
	for _, s := range steps {
		t.line("     %s", s)
	}
}

// shopSaw prints a request as it arrived at the shop.
func (t *transcript) shopSaw(r shop.Request) {
	t.line("   the shop saw: %s %s", r.Method, r.Target)
	t.headers("     ", r.Header, []string{"Authorization", "Cookie", "X-Ath-Agent-Id"})
}

// secrets matches what must not be printed whole: ATH tokens, secrets, codes
// and session ids; the OAuth server's tokens and codes; attestations; and in
// URLs whatever is random.
var secrets = regexp.MustCompile(`\b(?:ath_(?:tk|secret|code|sess)_[\w-]+|(?:user|refresh|code)_[A-Z2-7]{20,}|eyJ[\w-]+\.[\w-]+\.[\w-]+)` +
	`|(?:state|code_challenge)=[\w%.~-]{12,}`)

// shorten leaves the first characters of every secret in a text.
func shorten(text string) string {
	return secrets.ReplaceAllStringFunc(text, func(secret string) string {
		name, value, inURL := strings.Cut(secret, "=")
		if inURL {
			return name + "=" + value[:6] + "…"
		}
		if strings.HasPrefix(secret, "ath_") {
			// The kind, and a little of the value.
			kind := strings.LastIndex(secret[:min(len(secret), 12)], "_") + 1
			return secret[:min(kind+4, len(secret))] + "…"
		}
		return secret[:8] + "…"
	})
}
