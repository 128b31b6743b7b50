package authz

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
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
		segments, _, ok := splitTarget(path, "", 0)
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
		if _, _, ok := splitTarget(path, "", 0); ok {
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
		if got, _, ok := splitTarget(path, "", ath.EncodedSlash); !ok || !slices.Equal(got, want) {
			t.Errorf("P-7: %q gave %q, %v; want %q", path, got, ok, want)
		}
		if _, _, ok := splitTarget(path, "", 0); ok != !strings.Contains(path, "%2F") {
			t.Errorf("P-7: %q without the option: %v", path, ok)
		}
	}
	for _, path := range []string{
		"/a%2fb", "/%2Fa", "/a%2F", "/a%2F/b", "/%2F", "/a%2F%2Fb", "/a%2F..%2Fb", "/..%2Fa", "/a%2F.", "/a%2F%2E%2E",
		"/a%2F%20", "/a%252Fb", "/a%5Cb", "/a%2F;b", "/a%2F%3Bb", "/a%2F%25", "//a%2Fb", "/a%%2Fb",
	} {
		if _, _, ok := splitTarget(path, "", ath.EncodedSlash); ok {
			t.Errorf("P-7: %q passes for canonical", path)
		}
	}
}

// An API may take '#', '?' and '%' as parts of a segment where they are
// encoded. Each is allowed by itself; what decoding twice would make is judged
// as well, and dots that somebody cuts free.
// proves: P-7
func TestEncodedDelimiters(t *testing.T) {
	const all = ath.EncodedHash | ath.EncodedQuestion | ath.EncodedPercent
	for path, needs := range map[string]ath.Encodable{
		"/calendars/en.usa%23holiday%40group.v.calendar.google.com/events": ath.EncodedHash,
		"/calendars/%23contacts%40group.v.calendar.google.com":             ath.EncodedHash,
		"/labels/C%23":            ath.EncodedHash,
		"/labels/why%3F":          ath.EncodedQuestion,
		"/labels/%3F":             ath.EncodedQuestion,
		"/labels/100%25":          ath.EncodedPercent,
		"/labels/%25zz":           ath.EncodedPercent,
		"/labels/a%252E":          ath.EncodedPercent,
		"/labels/%252541":         ath.EncodedPercent,
		"/labels/a%2523b":         ath.EncodedPercent | ath.EncodedHash,
		"/labels/a%2523b%253f":    all,
		"/labels/50%25%20C%23%3F": all,
	} {
		for may := range all + 1 {
			if _, _, ok := splitTarget(path, "", may); ok != (may&needs == needs) {
				t.Errorf("P-7: %q with %q: %v", path, may.Delimiters(), ok)
			}
		}
		if _, _, ok := splitTarget(strings.ReplaceAll(path, "/labels/", "/labels/x%2F"), "", all|ath.EncodedSlash); !ok {
			t.Errorf("P-7: %q behind an encoded slash is refused", path)
		}
	}
	for _, path := range []string{
		"/a%3fb", "/..%23", "/.%3Fa", "/%2E%23", "/..%2523", "/..%20%23", "/%252E", "/%252e%252E", "/.%25252e", "/a%252Fb", "/a%252fb", "/a%25252Fb",
		"/a%255Cb", "/a%253Bb", "/a%2500b", "/a%250Ab", "/%25C0%25AE", "/%25FF", "/a%25u002e", "/a%25EF%25BC%258Fb", "/a%23;b", "/a%2Fb", "/a%5Cb",
		"/a%252525252523", "/" + "%25" + strings.Repeat("25", 4000), "/%25%32%65",
	} {
		if _, _, ok := splitTarget(path, "", all); ok {
			t.Errorf("P-7: %q passes for canonical", path)
		}
	}
	for _, path := range []string{"/a%252F%252Fb", "/a%252F..%252Fb", "/%252Fa", "/a%252F", "/a%252f.%23"} {
		if _, _, ok := splitTarget(path, "", all|ath.EncodedSlash); ok {
			t.Errorf("P-7: %q passes for canonical, with slashes", path)
		}
	}
	if _, _, ok := splitTarget("/a%252Fb", "", all|ath.EncodedSlash); !ok {
		t.Error("P-7: a slash that is encoded twice is refused where both are taken")
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
		got, _, ok := splitTarget(c.path, c.mount, 0)
		if ok != c.ok || !slices.Equal(got, c.want) {
			t.Errorf("%q under %q gave %q, %v", c.path, c.mount, got, ok)
		}
	}
}

// proves: P-5
func TestTokensAreFoundInQueries(t *testing.T) {
	for _, q := range []string{"t=ath_tk_x", "ath_tk_", "T=ATH_TK_x", "t=%61th_tk_x", "t=ath%5ftk%5F", "t=%2561th_tk_", "%252561th_tk_", "t=ath_rt_x", "T=Ath_Rt_", "t=ath%5frt%5F"} {
		if !holdsToken(q) {
			t.Errorf("P-5: no token seen in %q", q)
		}
	}
	for _, q := range []string{"", "a=b", "ath_t=k", "t=%zz%", "path_tk=1", "ath_rt", "ath_st_x", "ath\x7frt\x7f"} {
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
	f.Add("/a%23b/%3F/100%25", "")
	f.Add("/a%2523b/%252F/..%253F", "")
	f.Fuzz(func(t *testing.T, raw, mount string) {
		for _, may := range []ath.Encodable{0, ath.EncodedSlash, ath.EncodedHash, ath.EncodedHash | ath.EncodedQuestion | ath.EncodedPercent, 0xff} {
			segments, query, ok := splitTarget(raw, mount, may)
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
				// Read once, twice, and so on: only what the API may take.
				for part, deep := s, 0; ; deep++ {
					for _, c := range "/\\;%?#\x00\r\n" {
						one, _ := ath.Encodables(string(c))
						if strings.ContainsRune(part, c) && (one == 0 || may&one == 0) && (deep > 0 || c != '%') {
							t.Fatalf("segment %q reads as %q", s, part)
						}
					}
					for piece := range strings.SplitSeq(part, "/") {
						if strings.Trim(piece, ". ") == "" {
							t.Fatalf("segment %q reads as %q", s, part)
						}
					}
					again := unescapeLoosely(part)
					if again == part {
						break
					}
					part = again
				}
			}
		}
	})
}
