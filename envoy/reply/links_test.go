package reply

import (
	"net/url"
	"strings"
	"testing"

	"github.com/athd/athd/provider"
)

// shopLinks are those of an API at a base path.
func shopLinks(t testing.TB, base string) links {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	return linksOf(&provider.Provider{ID: "shop", APIBase: u, RewriteLinks: true}, "https://gw.example")
}

// proves: P-9
func TestWhatLeadsToTheAPILeadsHere(t *testing.T) {
	const here = "https://gw.example/ath/proxy/shop/"
	for _, c := range []struct{ base, link, want string }{
		{"https://api.example/v1", "https://api.example/v1/items?page=2", here + "items?page=2"},
		{"https://api.example/v1/", "https://api.example/v1/items/7#top", here + "items/7#top"},
		{"https://api.example/v1", "https://api.example/v1", here},
		{"https://api.example/v1", "https://api.example/v1/", here},
		{"https://api.example/v1", "https://api.example/v1?all", here + "?all"},
		{"https://api.example/v1", "HTTPS://API.example:443/v1/a", here + "a"},
		{"https://api.example/v1", "https://api.example/v1/a?u=https://api.example/v1/b", here + "a?u=https://api.example/v1/b"},
		{"https://api.example/v1", "https://api.example/v1/projects/group%2Fname", here + "projects/group%2Fname"},
		{"https://api.example", "https://api.example", here},
		{"https://api.example", "https://api.example/", here},
		{"https://api.example", "https://api.example/a//b", here + "a//b"},
		{"https://api.example:8443/v1", "https://api.example:8443/v1/a", here + "a"},
		{"http://127.0.0.1:9000", "http://127.0.0.1:9000/x", here + "x"},
		{"http://[::1]:9000", "http://[::1]:9000/x", here + "x"},
		{"https://api.example/caf%C3%A9", "https://api.example/caf%C3%A9/x", here + "x"},

		{"https://api.example/v1", "/v1/items", ""},
		{"https://api.example/v1", "items", ""},
		{"https://api.example/v1", "?page=2", ""},
		{"https://api.example/v1", "//api.example/v1/items", ""},
		{"https://api.example/v1", "", ""},
		{"https://api.example/v1", "http://api.example/v1/items", ""},
		{"https://api.example/v1", "https://other.example/v1/items", ""},
		{"https://api.example/v1", "https://api.example.evil/v1/items", ""},
		{"https://api.example/v1", "https://api.example:444/v1/items", ""},
		{"https://api.example:8443/v1", "https://api.example/v1/items", ""},
		{"https://api.example/v1", "https://api.example/v10", ""},
		{"https://api.example/v1", "https://api.example/v2/items", ""},
		{"https://api.example/v1", "https://api.example/", ""},
		{"https://api.example/v1", "https://api.example/v1/../admin", ""},
		{"https://api.example/v1", "https://api.example/v1/a/%2E%2e/b", ""},
		{"https://api.example/v1", "https://api.example/v1/a%2F..%2F..%2Fb", ""},
		{"https://api.example/v1", "https://api.example/v1/..;x/b", ""},
		{"https://api.example/v1", "https://api.example/v1/a%5C..%5Cb", ""},
		{"https://api.example/v1", "https://api.example/v1\\a", ""},
		{"https://api.example/v1", "https://api.example/v1/%252e%252e/", ""},
		{"https://api.example/v1", "https://user@api.example/v1/items", ""},
		{"https://api.example/v1", "https://api.example%2Fx/v1/items", ""},
		{"https://api.example/v1", "https://api.example/v1/a b", ""},
		{"https://api.example/v1", "https://api.example/v1/caf\u00e9", ""},
		{"https://api.example/v1", "https://api.example/v1/" + strings.Repeat("a", maxLinkBytes), ""},
		{"https://api.example/v1", "https:///v1/items", ""},
	} {
		got, ok := shopLinks(t, c.base).target(c.link)
		if ok != (c.want != "") || got != c.want {
			t.Errorf("%s: %.80q became %q, want %q", c.base, c.link, got, c.want)
		}
	}
}

func TestNobodysLinksAreRewrittenUnasked(t *testing.T) {
	base, _ := url.Parse("https://api.example")
	for name, p := range map[string]*provider.Provider{
		"none":           nil,
		"unasked":        {ID: "shop", APIBase: base},
		"an app":         {ID: "shop", APIBase: base, RewriteLinks: true, App: &provider.App{}},
		"without a base": {ID: "shop", RewriteLinks: true},
	} {
		l := linksOf(p, "https://gw.example")
		if got, ok := l.target("https://api.example/x"); ok {
			t.Errorf("%s: %q", name, got)
		}
		if got, ok := l.header("<https://api.example/x>"); ok {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// linkHeaders are Link headers; want "" where nothing is to be changed.
var linkHeaders = []struct{ value, want string }{
	{`<https://api.example/v1/i?page=2>; rel="next"`, `<HERE/i?page=2>; rel="next"`},
	{`<https://api.example/v1/i?page=2>; rel="next", <https://api.example/v1/i?page=9>; rel="last"`, `<HERE/i?page=2>; rel="next", <HERE/i?page=9>; rel="last"`},
	{`<https://api.example/v1/a>;rel=next,<https://other.example/v1/a>;rel=prev , </v1/b>`, `<HERE/a>;rel=next,<https://other.example/v1/a>;rel=prev , </v1/b>`},
	{"<https://api.example/v1/a,b;c> \t; title=\"x, <https://api.example/v1/no>; \\\" y\"; rel=next", "<HERE/a,b;c> \t; title=\"x, <https://api.example/v1/no>; \\\" y\"; rel=next"},
	{`, ,<https://api.example/v1/a>,, <https://api.example/v1/b>,`, `, ,<HERE/a>,, <HERE/b>,`},
	{`<https://api.example/v1/a>; ; crossorigin ; title*=UTF-8'de'n%c3%a4; type=text/html; rel="a b"`, `<HERE/a>; ; crossorigin ; title*=UTF-8'de'n%c3%a4; type=text/html; rel="a b"`},
	{`<https://api.example/v1/a>; rel = "next"`, `<HERE/a>; rel = "next"`},
	{`<https://api.example/v1/a>; anchor="https://api.example/v1/x"; rel=up`, `<HERE/a>; anchor="https://api.example/v1/x"; rel=up`},

	{``, ``},
	{`<>; rel=self`, ``},
	{`</v1/a>; rel=self`, ``},
	{`<https://other.example/>; rel="next"`, ``},
	{`https://api.example/v1/a; rel=next`, ``},
	{`<https://api.example/v1/a`, ``},
	{`<https://api.example/v1/a>; rel="next`, ``},
	{`<https://api.example/v1/a>; rel="next\`, ``},
	{`<https://api.example/v1/a>; rel=`, ``},
	{`<https://api.example/v1/a>; rel=<b>`, ``},
	{`<https://api.example/v1/a>; =x`, ``},
	{`<https://api.example/v1/a> rel=next`, ``},
	{`<https://api.example/v1/a>, x`, ``},
	{`<https://api.example/v1/a>; rel="x" y`, ``},
	{`<https://api.example/v1/a b>`, ``},
	{strings.Repeat(`<https://api.example/v1/a>,`, maxLinkTargets+1), ``},
	{`<https://api.example/v1/` + strings.Repeat("a", maxLinkBytes) + `>`, ``},
}

func TestLinkHeadersAreRewrittenTargetByTarget(t *testing.T) {
	l := shopLinks(t, "https://api.example/v1")
	for _, c := range linkHeaders {
		want := strings.ReplaceAll(c.want, "HERE", "https://gw.example/ath/proxy/shop")
		got, changed := l.header(c.value)
		if changed != (want != "") || changed && got != want {
			t.Errorf("%.100q\n became %q,\n   want %q", c.value, got, want)
		}
	}
}

// Whatever an API writes, only targets change, each to a place below the provider's
// mount, and what was rewritten once is not rewritten again.
func FuzzLinkHeader(f *testing.F) {
	for _, c := range linkHeaders {
		f.Add(c.value)
	}
	l := shopLinks(f, "https://api.example/v1")
	f.Fuzz(func(t *testing.T, value string) {
		got, changed := l.header(value)
		if !changed {
			return
		}
		if again, more := l.header(got); more {
			t.Errorf("%q became %q and %q", value, got, again)
		}
		before, rest := targets(t, value)
		after, left := targets(t, got)
		if len(before) != len(after) || rest != left {
			t.Fatalf("%q became %q: more than targets has changed", value, got)
		}
		for i := range before {
			if before[i] != after[i] {
				path, here := strings.CutPrefix(after[i], "https://gw.example/ath/proxy/shop/")
				u, err := url.Parse(after[i])
				if !here || err != nil && !strings.Contains(err.Error(), "escape") || err == nil && (u.Host != "gw.example" || strings.Contains("/"+u.Path+"/", "/../")) {
					t.Errorf("%q became %q", before[i], after[i])
				}
				if !strings.HasSuffix(before[i], path) {
					t.Errorf("%q became %q: the rest is another", before[i], after[i])
				}
			}
		}
	})
}

// targets are those of a Link header, and what stands between them.
func targets(t *testing.T, value string) (out []string, rest string) {
	t.Helper()
	r, read := linkReader{text: value}, 0
	for {
		from, to, more, ok := r.next()
		if !ok {
			t.Fatalf("%q cannot be read", value)
		}
		if !more {
			return out, rest + value[read:]
		}
		out, rest, read = append(out, value[from:to]), rest+value[read:from], to
	}
}
