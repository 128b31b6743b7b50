package authz

import (
	"slices"
	"strings"
	"testing"
)

// proves: P-7
func TestCanonicalTargets(t *testing.T) {
	allowed := map[string][]string{
		"/":                           nil,
		"/?q=1":                       nil,
		"/a":                          {"a"},
		"/a/b/":                       {"a", "b", ""},
		"/a.b/~c/_d/-e":               {"a.b", "~c", "_d", "-e"},
		"/a%20b":                      {"a%20b"},
		"/caf%C3%A9":                  {"caf%C3%A9"},
		"/@user/x:y,z=1+2!$&'()*":     {"@user", "x:y,z=1+2!$&'()*"},
		"/a?x=%2f..%00;#"[:12] + "ok": {"a"},
		"/..a/b..":                    {"..a", "b.."},
		"/a?/../b//c":                 {"a"},
	}
	for path, want := range allowed {
		segments, _, ok := splitTarget(path, "")
		if !ok || !slices.Equal(segments, want) {
			t.Errorf("P-7: %q gave %q, %v; want %q", path, segments, ok, want)
		}
	}
	refused := []string{
		"", "a", "*", "//", "//a", "/a//b", "/./a", "/a/.", "/..", "/a/../b", "/...", "/a/....",
		"/%2e%2e/a", "/%2E", "/a%2fb", "/a%2Fb", "/a%5cb", "/a%5Cb", `/a\b`, "/a;b", "/;/", "/a/..;x/b", "/..%3b/", "/a%3Bb",
		"/a%00", "/a%0D%0A", "/a%0d%0a", "/a%01", "/a%1F", "/a%7F", "/a%7f", "/a%25", "/a%252f", "/a%252E", "/a%23", "/a%3F", "/a%3f",
		"/%C0%AE", "/%c0%ae", "/%FF", "/%ff", "/%E2%82", "/a%zz", "/a%", "/a%2", "/%u002e", "/[a]", "/a|b", "/a^b", "/a`b", "/a{b}", "/a<b>", `/a"b`,
		"/a b", "/a\tb", "/a\x00b", "/a\x7fb", "/caf\xc3\xa9", "/a%c3%a9", "/%70", "/%41", "/%2D", "/%7E", "/a#b", "/a?b#c", "/a?b c", "/a?\x80", "http://x/a",
		"/" + strings.Repeat("a", maxTargetBytes),
	}
	for _, path := range refused {
		if _, _, ok := splitTarget(path, ""); ok {
			t.Errorf("P-7: %q passes for canonical", path)
		}
	}
}

func TestMountIsStrippedWhole(t *testing.T) {
	for _, c := range []struct {
		path, mount string
		want        []string
		ok          bool
	}{
		{"/ath/proxy/p/a/b", "/ath/proxy/p/", []string{"a", "b"}, true},
		{"/ath/proxy/p/", "/ath/proxy/p/", nil, true},
		{"/ath/proxy/p", "/ath/proxy/p/", nil, false},
		{"/ath/proxy/px/a", "/ath/proxy/p/", nil, false},
		{"/ath/proxy/p/../x", "/ath/proxy/p/", nil, false},
		{"/ath/proxy/p//x", "/ath/proxy/p/", nil, false},
		{"/ATH/proxy/p/x", "/ath/proxy/p/", nil, false},
		{"/ath/proxy/p/x", "/ath/proxy/p", nil, false},
		{"/ath/proxy/p/x", "ath/proxy/p/", nil, false},
	} {
		got, _, ok := splitTarget(c.path, c.mount)
		if ok != c.ok || !slices.Equal(got, c.want) {
			t.Errorf("%q under %q gave %q, %v", c.path, c.mount, got, ok)
		}
	}
}

// proves: P-5
func TestTokensAreFoundInQueries(t *testing.T) {
	for _, q := range []string{"t=ath_tk_x", "ath_tk_", "T=ATH_TK_x", "t=%61th_tk_x", "t=ath%5ftk%5F", "t=%2561th_tk_", "%252561th_tk_"} {
		if !holdsToken(q) {
			t.Errorf("P-5: no token seen in %q", q)
		}
	}
	for _, q := range []string{"", "a=b", "ath_t=k", "t=%zz%", "path_tk=1"} {
		if holdsToken(q) {
			t.Errorf("P-5: a token seen in %q", q)
		}
	}
}

// Whatever passes for canonical has one reading: its segments joined are the
// path, no decoding yields a separator, a dot segment or a control character.
func FuzzSplitTarget(f *testing.F) {
	for _, s := range []string{"/", "/a/b", "/a%20b", "/..%3b/x", "/%2e%2e", "/a?b=c", "/caf%C3%A9", "/%u002e", "//", "/a/./b"} {
		f.Add(s, "")
		f.Add("/ath/proxy/p"+s, "/ath/proxy/p/")
	}
	f.Fuzz(func(t *testing.T, raw, mount string) {
		segments, query, ok := splitTarget(raw, mount)
		if !ok {
			return
		}
		if mount == "" {
			mount = "/"
		}
		joined := mount + strings.Join(segments, "/")
		if q := "?" + query; joined != raw && joined+q != raw {
			t.Fatalf("%q under %q splits to %q and %q", raw, mount, segments, query)
		}
		for _, s := range segments {
			d := unescapeLoosely(s)
			if d != "" && strings.Trim(d, ".") == "" || strings.ContainsAny(d, "/\\;%?#\x00\r\n") || unescapeLoosely(d) != d {
				t.Fatalf("segment %q reads twice, as %q", s, d)
			}
		}
	})
}
