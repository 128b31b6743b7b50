package canary

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
)

var tokens = map[string]string{
	"short":         "a1b2c3d4",
	"of GitHub":     "gho_16C7e42F292c6912E7710c838347Ae178B4a",
	"of Google":     "ya29.a0AfH6SMBx/9-_q~4Lw+Zz0=",
	"a JWT":         "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0." + strings.Repeat("c2lnbmF0dXJl", 30),
	"one character": strings.Repeat("a", 40),
	"four kB":       strings.Repeat("0123456789abcdef", 256),
}

// forms are ways in which an API may say a token.
func forms(token string) map[string]string {
	std, raw := base64.StdEncoding, base64.RawURLEncoding
	return map[string]string{
		"alone":                         token,
		"as a bearer":                   "Bearer " + token,
		"within":                        `{"authorization":"Bearer ` + token + `","x":1}`,
		"at the end":                    strings.Repeat("x", 100) + token,
		"percent-encoded":               "u=" + url.QueryEscape(token) + "&v=1",
		"all of it":                     allPercent(token, "%%%02X"),
		"in small digits":               allPercent(token, "%%%02x"),
		"twice":                         url.QueryEscape(url.QueryEscape("t=" + token)),
		"as JSON escapes slashes":       `"` + strings.ReplaceAll(token, "/", `\/`) + `"`,
		"base64":                        std.EncodeToString([]byte(token)),
		"basic":                         "Basic " + std.EncodeToString([]byte("user:"+token)),
		"basic, one more":               "Basic " + std.EncodeToString([]byte("users:"+token)),
		"basic, two more":               "Basic " + std.EncodeToString([]byte("user12:"+token)),
		"base64url":                     raw.EncodeToString([]byte(`{"t":"` + token + `"}`)),
		"base64 behind base64":          "ab" + std.EncodeToString([]byte(token)),
		"base64 in a URL":               "https://x.example/?s=" + url.QueryEscape(std.EncodeToString([]byte("t="+token))),
		"behind something like escapes": "100% \\ " + token,
	}
}

func allPercent(s, form string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, form, c)
	}
	return b.String()
}

func TestASecretIsRecognizedInEachForm(t *testing.T) {
	for name, token := range tokens {
		c := Of(ath.NewSecret(token))
		for form, text := range forms(token) {
			if !c.In(text) {
				t.Errorf("%s, %s: not found", name, form)
			}
		}
	}
}

// A reply without it loses nothing: not by a part of it, another token, or a text
// that is nearly the same.
func TestNothingElseIsRecognized(t *testing.T) {
	for name, token := range tokens {
		c := Of(ath.NewSecret(token))
		near := []byte(token)
		near[len(near)/2] ^= 1
		for _, other := range []string{
			"", "x", token[1:], token[:len(token)-1], string(near), strings.ToUpper(token) + "!", base64.StdEncoding.EncodeToString([]byte(token[1:])),
			url.QueryEscape(string(near)), "%", "%%%", strings.Repeat("%25", 3000), strings.Repeat("\\", 3000),
		} {
			if other != token && !strings.Contains(other, token) && c.In(other) {
				t.Errorf("%s: found in %.60q", name, other)
			}
		}
		for other, text := range tokens {
			if other != name && !strings.Contains(text, token) && c.In(text) {
				t.Errorf("%s: found in %s", name, other)
			}
		}
	}
}

func TestWhatIsTooShortIsNotLookedFor(t *testing.T) {
	for _, token := range []string{"", "a", "1234567"} {
		if c := Of(ath.NewSecret(token)); c != (Canary{}) || c.In(token) || c.In("") {
			t.Errorf("%q: %+v", token, c)
		}
	}
	if (Canary{}).In(strings.Repeat("x", 100)) || new(Search).In("xxxxxxxxxxxx") {
		t.Error("a zero value recognizes something")
	}
	if c := Of(ath.NewSecret(strings.Repeat("x", 1<<16))); c != (Canary{}) {
		t.Error("a secret is longer than its mark can say")
	}
}

func TestAMarkHoldsNothingOfTheSecret(t *testing.T) {
	for name, token := range tokens {
		m := MarkOf(ath.NewSecret(token))
		text := m.Text()
		if back, err := ParseMark(text); err != nil || back != m || len(text) > 14 {
			t.Errorf("%s: %q became %+v: %v", name, text, back, err)
		}
		for i := range len(token) - 7 {
			if strings.Contains(text, token[i:i+8]) {
				t.Errorf("%s: %q holds a piece of it", name, text)
			}
		}
	}
	for _, text := range []string{"", "8", "8.", "7.00000000", "08.00000000", "8.0000000", "8.000000000", "8.0000000G", "8.ABCDEF00", "65536.00000000", "-8.00000000", "+8.00000000", "8.00000000 "} {
		if _, err := ParseMark(text); err == nil {
			t.Errorf("%q is read", text)
		}
	}
}

func TestACanaryIsReadAsItWasWritten(t *testing.T) {
	for name, token := range tokens {
		c := Of(ath.NewSecret(token))
		text := c.Text()
		if back, err := Parse(text); err != nil || back != c || len(text) > 26 {
			t.Errorf("%s: %q became %+v: %v", name, text, back, err)
		}
		for _, odd := range []string{text + " ", " " + text, text + "0", "\n" + text, text[:11] + ":-", ":" + c.Mark.Text(), "A" + text, text[1:], text[:12], strings.Replace(text, ":", " ", 1)} {
			if back, err := Parse(odd); err == nil {
				t.Errorf("%s: %q is read as %+v", name, odd, back)
			}
		}
	}
	if (Canary{}).Text() != "" {
		t.Error("nothing has a text")
	}
	if _, err := Parse(""); err == nil {
		t.Error("nothing is read")
	}
}

// Who knows the secret can write texts whose sum is right: they cost a bounded time,
// and count as the secret then.
func TestTextsThatOnlySeemToHoldItAreFew(t *testing.T) {
	c := Of(ath.NewSecret(strings.Repeat("a", 64)))
	c.Print[0] ^= 1 // now every window of such a text only seems to be it
	s := c.Search()
	if s.In(strings.Repeat("a", 64+maxConfirmed-1)) {
		t.Error("found too soon")
	}
	if !s.In(strings.Repeat("a", 64)) || s.confirmed != maxConfirmed {
		t.Errorf("%d digests were made, and it goes on", s.confirmed)
	}
}

func FuzzSearch(f *testing.F) {
	f.Add("a1b2c3d4", "Bearer ", "", uint8(0))
	f.Add("ya29.a0/x+y=", "u:", "%", uint8(3))
	f.Add("%41%42%43", "\\", "==", uint8(2))
	f.Fuzz(func(t *testing.T, token, before, after string, form uint8) {
		if len(token) < MinLength || len(token)+len(before)+len(after) > 10_000 {
			return
		}
		c := Of(ath.NewSecret(token))
		text := before + token + after
		switch form % 5 {
		case 1:
			text = url.PathEscape(text)
		case 2:
			text = url.PathEscape(url.PathEscape(text))
		case 3:
			text = base64.StdEncoding.EncodeToString([]byte(text))
		case 4:
			text = base64.RawURLEncoding.EncodeToString([]byte(text))
		}
		if !c.In(text) {
			t.Errorf("%q is not found in %q", token, text)
		}
		if m, err := ParseMark(c.Mark.Text()); err != nil || m != c.Mark {
			t.Errorf("%v: %v", m, err)
		}
		if back, err := Parse(c.Text()); err != nil || back != c {
			t.Errorf("%v: %v", back, err)
		}
		if c.plainly(before) != strings.Contains(before, token) {
			t.Errorf("%q in %q", token, before)
		}
	})
}

// plainly is In without decoding anything.
func (c Canary) plainly(text string) bool { return c.Search().plain([]byte(text)) }

func FuzzParseMark(f *testing.F) {
	f.Add("40.0011aabb")
	f.Add("-")
	f.Fuzz(func(t *testing.T, text string) {
		if m, err := ParseMark(text); err == nil && m.Text() != text {
			t.Errorf("%q became %q", text, m.Text())
		}
	})
}

func BenchmarkSearch(b *testing.B) {
	c := Of(ath.NewSecret(tokens["of GitHub"]))
	reply := []string{
		"application/json; charset=utf-8", "Sun, 29 Nov 2026 15:00:00 GMT", `W/"3b1c5f0e7b2d4a6c8e9f00112233445566778899aabbccddeeff001122334455"`,
		"https://api.github.com/repositories/1/issues?page=2", "max-age=31536000; includeSubdomains; preload", "default-src 'none'", "4999", "1700000000",
	}
	b.ReportAllocs()
	for b.Loop() {
		s := c.Search()
		for _, v := range reply {
			if s.In(v) {
				b.Fatal("found")
			}
		}
	}
}
