package ath_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
)

func TestParseScopes(t *testing.T) {
	many := make([]string, ath.MaxScopes+1)
	for i := range many {
		many[i] = fmt.Sprint("s", i)
	}
	for _, c := range []struct {
		name string
		in   []string
		want []string // nil: refused
	}{
		{"order is kept", []string{"b", "a"}, []string{"b", "a"}},
		{"repetition is dropped", []string{"a", "b", "a"}, []string{"a", "b"}},
		{"case counts", []string{"a", "A"}, []string{"a", "A"}},
		{"all that RFC 6749 allows", []string{"https://x.example/auth/a.b:c_d-e~!#$%&'()*+;<=>?@[]^`{|}"}, []string{"https://x.example/auth/a.b:c_d-e~!#$%&'()*+;<=>?@[]^`{|}"}},
		{"none", nil, []string{}},
		{"the longest", []string{strings.Repeat("x", ath.MaxScopeBytes)}, []string{strings.Repeat("x", ath.MaxScopeBytes)}},
		{"as many as may be", many[1:], many[1:]},
		{"too long", []string{strings.Repeat("x", ath.MaxScopeBytes+1)}, nil},
		{"too many", many, nil},
		{"empty", []string{"a", ""}, nil},
		{"space", []string{"a b"}, nil},
		{"comma", []string{"a,b"}, nil},
		{"quote", []string{`a"`}, nil},
		{"backslash", []string{`a\`}, nil},
		{"control", []string{"a\x7f"}, nil},
		{"newline", []string{"a\n"}, nil},
		{"not ASCII", []string{"ä"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ath.ParseScopes(c.in)
			if (err != nil) != (c.want == nil) || !slices.Equal(got, c.want) {
				t.Fatalf("got %q, %v", got, err)
			}
		})
	}
}

// proves: C-4
func TestSplitScopes(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"C-4: by spaces", "repo user:email", "repo|user:email"},
		{"C-4: by commas", "repo,user:email", "repo|user:email"},
		{"C-4: by both", "repo, gist ,x", "repo|gist|x"},
		{"repetition", "a a,a", "a"},
		{"nothing", "", ""},
		{"separators only", " ,, ", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ath.SplitScopes(c.in)
			if err != nil || strings.Join(got, "|") != c.want {
				t.Fatalf("got %q, %v", got, err)
			}
		})
	}
	if got, err := ath.SplitScopes("a\tb"); err == nil {
		t.Errorf("a tab separates: %q", got)
	}
}

// proves: T-2
func TestScopeSets(t *testing.T) {
	a, b := ath.Scopes{"z", "a", "m"}, ath.Scopes{"m", "q", "z"}
	for _, c := range []struct {
		name      string
		got, want ath.Scopes
	}{
		{"T-2: the intersection keeps the first one's order", a.Intersect(b), ath.Scopes{"z", "m"}},
		{"the difference", a.Minus(b), ath.Scopes{"a"}},
		{"the union", a.Union(b), ath.Scopes{"z", "a", "m", "q"}},
		{"with nothing: intersection", a.Intersect(nil), nil},
		{"of nothing: intersection", ath.Scopes(nil).Intersect(a), nil},
		{"of nothing: union", ath.Scopes(nil).Union(a), a},
		{"with nothing: difference", a.Minus(nil), a},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s is %q, want %q", c.name, c.got, c.want)
		}
	}
	if !a.Has("z") || a.Has("Z") || a.Has("") || ath.Scopes(nil).Has("z") {
		t.Error("membership is not by bytes")
	}
	long := append(make(ath.Scopes, 0, 10), "a")
	if long.Union(ath.Scopes{"b"}); len(long[:2]) == 2 && long[:2][1] == "b" {
		t.Error("a union writes into its operand")
	}
}

func FuzzSplitScopes(f *testing.F) {
	for _, seed := range []string{"a b", "a,b", " ", "a\tb", strings.Repeat("s ", 300), "\"", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ath.SplitScopes(s)
		if err != nil {
			if got != nil {
				t.Fatal("refused, and yet scopes")
			}
			return
		}
		again, err := ath.SplitScopes(strings.Join(got, " "))
		if err != nil || !slices.Equal(got, again) || len(got) > ath.MaxScopes {
			t.Fatalf("%q is %q, then %q, %v", s, got, again, err)
		}
		for i, scope := range got {
			if scope == "" || strings.ContainsAny(scope, " ,\"\\") || slices.Contains(got[:i], scope) {
				t.Fatalf("%q was taken", scope)
			}
		}
	})
}
