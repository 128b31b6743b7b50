package authz

import (
	"cmp"
	"slices"
	"strings"
	"testing"
)

// proves: P-7
func TestCanonicalTargets(t *testing.T) {
	allowed := map[string][]string{
		"/":                             nil,
		"/?q=1":                         nil,
		"/a":                            {"a"},
		"/a/b/":                         {"a", "b", ""},
		"/a.b/~c/_d/-e":                 {"a.b", "~c", "_d", "-e"},
		"/a%20b":                        {"a%20b"},
		"/caf%C3%A9":                    {"caf%C3%A9"},
		"/@user/x:y,z=1+2!$&'()*":       {"@user", "x:y,z=1+2!$&'()*"},
		"/a?x=%2f..%00;#"[:12] + "ok":   {"a"},
		"/..a/b..":                      {"..a", "b.."},
		"/a?/../b//c":                   {"a"},
		"/a%20/b./c.json/d~1":           {"a%20", "b.", "c.json", "d~1"},
		"/+1/c++/%40me/%7Bid%7D":        {"+1", "c++", "%40me", "%7Bid%7D"},
		"/%E2%80%AEa/e%CC%81/%EF%BC%A1": {"%E2%80%AEa", "e%CC%81", "%EF%BC%A1"},
		"/%EF%BF%BD%E2%80%A6":           {"%EF%BF%BD%E2%80%A6"},
	}
	for path, want := range allowed {
		segments, _, ok := splitTarget(path, "", false)
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
		"/%20", "/..%20/a", "/.%20.", "/a/%20..", "/+", "/..+/a", "/%E2%80%8B", "/.%E2%80%8B./a", "/%EF%BC%8E%EF%BC%8E/a", "/%E2%80%A5/a", "/%C2%A0",
		"/a%EF%BC%8Fb", "/a%E2%88%95b", "/a%EF%BC%BCb", "/a%EF%BC%85b", "/a%CD%BEb", "/a%EF%BC%9Fb", "/a%EF%BC%83b", "/a%E2%84%80b",
		"/a%C2%85b", "/a%C2%80", "/%ED%A0%80", "/%F8%80%80%80%AF", "/%E0%80%AE", "/%EF%BF", "/%F4%90%80%80",
		"/" + strings.Repeat("a", maxTargetBytes),
	}
	for _, path := range refused {
		if _, _, ok := splitTarget(path, "", false); ok {
			t.Errorf("P-7: %q passes for canonical", path)
		}
	}
}

// A provider may take %2F as a part of a segment. Nothing else passes by it.
// proves: P-7
func TestEncodedSlash(t *testing.T) {
	for path, want := range map[string][]string{
		"/projects/group%2Fproject/issues": {"projects", "group%2Fproject", "issues"},
		"/a%2Fb%2Fc":                       {"a%2Fb%2Fc"},
		"/a%20b%2F%C3%A9/":                 {"a%20b%2F%C3%A9", ""},
		"/a/b":                             {"a", "b"},
	} {
		if got, _, ok := splitTarget(path, "", true); !ok || !slices.Equal(got, want) {
			t.Errorf("P-7: %q gave %q, %v; want %q", path, got, ok, want)
		}
		if _, _, ok := splitTarget(path, "", false); ok != !strings.Contains(path, "%2F") {
			t.Errorf("P-7: %q without the option: %v", path, ok)
		}
	}
	for _, path := range []string{
		"/a%2fb", "/%2Fa", "/a%2F", "/a%2F/b", "/%2F", "/a%2F%2Fb", "/a%2F..%2Fb", "/..%2Fa", "/a%2F.", "/a%2F%2E%2E",
		"/a%2F%20", "/a%252Fb", "/a%5Cb", "/a%2F;b", "/a%2F%3Bb", "/a%2F%25", "//a%2Fb", "/a%%2Fb",
	} {
		if _, _, ok := splitTarget(path, "", true); ok {
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
		got, _, ok := splitTarget(c.path, c.mount, false)
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
	f.Add("/group%2Fproject/issues", "")
	f.Fuzz(func(t *testing.T, raw, mount string) {
		for _, encodedSlash := range []bool{false, true} {
			segments, query, ok := splitTarget(raw, mount, encodedSlash)
			if !ok {
				continue
			}
			joined := cmp.Or(mount, "/") + strings.Join(segments, "/")
			if q := "?" + query; joined != raw && joined+q != raw {
				t.Fatalf("%q under %q splits to %q and %q", raw, mount, segments, query)
			}
			for i, s := range segments {
				if s == "" && i == len(segments)-1 {
					break
				}
				parts := []string{s}
				if encodedSlash {
					parts = strings.Split(s, "%2F")
				}
				for _, part := range parts {
					d := unescapeLoosely(part)
					if strings.Trim(d, ". ") == "" || strings.ContainsAny(d, "/\\;%?#\x00\r\n") || unescapeLoosely(d) != d {
						t.Fatalf("segment %q reads twice, as %q", s, d)
					}
				}
			}
		}
	})
}
