package athflow

import (
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

// Users read durations, not Go's spelling of them; and never a shorter one than
// holds.
func TestDurationsAreInWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		90 * 24 * time.Hour:     "90 days",
		24 * time.Hour:          "1 day",
		36 * time.Hour:          "36 hours",
		time.Hour:               "1 hour",
		90 * time.Minute:        "90 minutes",
		time.Minute:             "1 minute",
		90 * time.Second:        "90 seconds",
		1500 * time.Millisecond: "2 seconds",
	} {
		if got := inWords(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

// proves: T-8
func TestOnlyThePageInThisBrowserSaysWhatWasShown(t *testing.T) {
	s := &tokenstore.Session{BrowserKey: ath.NewSecret("key of the session")}
	other := &tokenstore.Session{BrowserKey: ath.NewSecret("key of another one")}
	month := ath.RenewalTerms{Max: 90 * 24 * time.Hour, Idle: 30 * 24 * time.Hour}
	year := ath.RenewalTerms{Max: 365 * 24 * time.Hour, Idle: 365 * 24 * time.Hour}
	field := termsField(s, "browser", month)
	if got, err := termsShown(s, "browser", field); err != nil || got != month {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := termsShown(s, "browser", ""); err != nil || !got.IsZero() {
		t.Errorf("of a page that shows none: %v, %v", got, err)
	}
	if got := termsField(s, "browser", ath.RenewalTerms{}); got != "" {
		t.Errorf("a page that shows none has %q", got)
	}
	_, mac, _ := strings.Cut(field, ".")
	for name, bad := range map[string]string{
		"the terms alone":     month.String(),
		"an empty MAC":        month.String() + ".",
		"longer terms":        year.String() + "." + mac,
		"nothing with a MAC":  "." + mac,
		"another browser's":   termsField(s, "another browser", month),
		"another session's":   termsField(other, "browser", month),
		"the form's token":    month.String() + "." + formToken(s, "browser"),
		"more behind the MAC": field + "x",
		"not terms":           "forever." + mac,
	} {
		if got, err := termsShown(s, "browser", bad); err == nil || !got.IsZero() {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestContactsAreLinksThatRunNothing(t *testing.T) {
	for in, want := range map[string]string{
		"help@example.com":                   "mailto:help@example.com",
		"mailto:help+ath@example.com":        "mailto:help+ath@example.com",
		"https://example.com/help?a=b#end":   "https://example.com/help?a=b#end",
		"javascript:alert(1)":                "",
		"JAVASCRIPT:alert(1)":                "",
		"javascript:alert(1)//a@example.com": "",
		"javascript&#58;a@example.com":       "",
		"data:text/html,x@example.com":       "",
		"http://example.com":                 "",
		"//example.com":                      "",
		"https:example.com":                  "",
		"https://":                           "",
		"https://a:b@example.com/":           "",
		"https://example.com/\"onclick=x":    "",
		"mailto:a@example.com?bcc=b@x.test":  "",
		"mailto:a%0abcc@example.com":         "",
		"a@example.com:25":                   "",
		"a b@example.com":                    "",
		"@example.com":                       "",
		"a@":                                 "",
		"a@b@example.com":                    "",
		"":                                   "",
	} {
		c, err := ParseContact(in)
		if (err == nil) != (want != "") || c.URL() != want || c.IsZero() != (want == "") {
			t.Errorf("%q: %q, %v; want %q", in, c.URL(), err, want)
		}
	}
}
