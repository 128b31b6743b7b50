package ath_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
)

var (
	tag = strings.Repeat("T", 16)
	key = strings.Repeat("k", 43)
)

// proves: T-3
func TestParseToken(t *testing.T) {
	for _, c := range []struct {
		name, token string
		tag         string // "": refused
	}{
		{"T-3: tag and 43 characters of key", "ath_tk_" + tag + "_" + key, tag},
		{"cut by width: '_' in the tag", "ath_tk_" + "_a_b_c_d_e_f_g__" + "_" + key, "_a_b_c_d_e_f_g__"},
		{"cut by width: '_' all over", "ath_tk_" + strings.Repeat("_", 60), strings.Repeat("_", 16)},
		{"cut by width: '-' at the border", "ath_tk_" + strings.Repeat("-", 16) + "_" + strings.Repeat("-", 43), strings.Repeat("-", 16)},
		{"empty", "", ""},
		{"no head", tag + "_" + key, ""},
		{"another head", "ath_st_" + tag + "_" + key, ""},
		{"head in capitals", "ATH_TK_" + tag + "_" + key, ""},
		{"a key too short", "ath_tk_" + tag + "_" + key[1:], ""},
		{"a key too long", "ath_tk_" + tag + "_" + key + "k", ""},
		{"a tag too short", "ath_tk_" + tag[1:] + "_" + key, ""},
		{"no separator", "ath_tk_" + tag + "k" + key, ""},
		{"padding", "ath_tk_" + tag + "_" + key[1:] + "=", ""},
		{"plain base64", "ath_tk_" + tag + "_" + key[1:] + "/", ""},
		{"a brace in the tag", "ath_tk_" + tag[1:] + "}" + "_" + key, ""},
		{"a space behind", "ath_tk_" + tag + "_" + key[1:] + " ", ""},
		{"NUL", "ath_tk_" + tag + "_" + key[1:] + "\x00", ""},
		{"not ASCII", "ath_tk_" + tag + "_" + key[2:] + "ä", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ath.ParseToken(c.token)
			if c.tag == "" {
				if !errors.Is(err, ath.ErrMalformed) || !got.IsZero() {
					t.Fatalf("it was taken: %v", err)
				}
				return
			}
			if err != nil || string(got.Tag()) != c.tag || got.Secret().Reveal() != c.token || got.Digest() != ath.DigestOf(c.token) {
				t.Fatalf("tag %q, %v", got.Tag(), err)
			}
		})
	}
}

// TestNewValues holds that what is made parses, carries its tag, and is new
// each time. 200 rounds meet '_' and '-' at every place that matters.
func TestNewValues(t *testing.T) {
	agent, err := ath.ParseAgentID("https://agent.example/", false)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	fresh := func(text string, width int) {
		t.Helper()
		if len(text) != width {
			t.Errorf("%q has %d characters, want %d", text, len(text), width)
		}
		if seen[text] {
			t.Errorf("%q was made twice", text)
		}
		seen[text] = true
	}
	for range 200 {
		tag := ath.NewTag()
		fresh(string(tag), 16)

		token := ath.NewToken(tag)
		again, err := ath.ParseToken(token.Secret().Reveal())
		if err != nil || again.Tag() != tag || again.Digest() != token.Digest() || token.IsZero() || !strings.HasPrefix(token.Secret().Reveal(), ath.TokenPrefix) {
			t.Fatal("a new token does not parse to itself")
		}
		fresh(token.Secret().Reveal(), len("ath_tk_")+60)

		session := ath.NewSessionID()
		if again, err := ath.ParseSessionID(session.Secret().Reveal()); err != nil || again.Tag() != session.Tag() || again.Digest() != session.Digest() {
			t.Fatal("a new session id does not parse to itself")
		}
		fresh(session.Secret().Reveal(), len("ath_sess_")+60)

		state := ath.NewState(session.Tag())
		if again, err := ath.ParseState(state.Secret().Reveal()); err != nil || again.Tag() != session.Tag() || again.Digest() != state.Digest() {
			t.Fatal("a new state does not parse to itself")
		}
		fresh(state.Secret().Reveal(), 60)

		client := ath.NewClientID(agent)
		if again, err := ath.ParseClientID(client.String()); err != nil || again != client || again.Tag() != agent.Tag() {
			t.Fatal("a new client id does not parse to itself")
		}
		fresh(client.String(), len("ath_")+16+1+22)

		fresh(ath.NewClientSecret().Reveal(), len("ath_secret_")+43)
		fresh(ath.NewCode().Reveal(), len("ath_code_")+43)
		fresh(ath.NewKey().Reveal(), 43)
		fresh(ath.NewDecisionID(), len("dec_")+16)
	}
	t.Run("T-3: a key has 256 bits", func(t *testing.T) {
		raw, err := base64.RawURLEncoding.DecodeString(ath.NewKey().Reveal())
		if err != nil || len(raw) != 32 {
			t.Fatalf("%d bytes, %v", len(raw), err)
		}
	})
}

func TestOtherBearersAreNotTokens(t *testing.T) {
	token, session := ath.NewToken(ath.NewTag()).Secret().Reveal(), ath.NewSessionID().Secret().Reveal()
	if _, err := ath.ParseSessionID(token); err == nil {
		t.Error("a token is a session id")
	}
	if _, err := ath.ParseToken(session); err == nil {
		t.Error("a session id is a token")
	}
	if _, err := ath.ParseState(token); err == nil {
		t.Error("a token is a state")
	}
	if _, err := ath.ParseClientID(token); err == nil {
		t.Error("a token is a client id")
	}
	for name, zero := range map[string]bool{"token": ath.Token{}.IsZero(), "session": ath.SessionID{}.IsZero(), "state": ath.State{}.IsZero(), "client": ath.ClientID{}.IsZero()} {
		if !zero {
			t.Errorf("the zero %s is one", name)
		}
	}
	if !(ath.Token{}).Digest().IsZero() || !(ath.Token{}).Secret().IsZero() {
		t.Error("no token has a digest")
	}
}

func TestAgentTagFollowsFromTheAgentID(t *testing.T) {
	// Fixed for ever: the keys of all stored agents hang on it.
	const id, want = "https://agent.example/", "bhdMlKsJIuf9R5DD"
	if got := ath.AgentTag(id); got != want {
		t.Errorf("the tag of %s is %s, want %s", id, got, want)
	}
	if ath.AgentTag(id) == ath.AgentTag(id+"/") {
		t.Error("two agents share a tag")
	}
}

func TestDigestIdentifiesATokenWithoutIt(t *testing.T) {
	d := ath.DigestOf("abc")
	if d.String() != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
		t.Errorf("it is not SHA-256: %s", d)
	}
	for _, c := range []struct {
		name   string
		digest ath.Digest
		value  string
		want   bool
	}{
		{"its value", d, "abc", true},
		{"another", d, "abd", false},
		{"nothing", d, "", false},
		{"the zero digest and nothing", ath.Digest{}, "", false},
		{"the zero digest and something", ath.Digest{}, "abc", false},
		{"the digest of nothing and nothing", ath.DigestOf(""), "", false},
	} {
		if got := c.digest.Matches(c.value); got != c.want {
			t.Errorf("%s: matches is %v", c.name, got)
		}
	}
	if !ath.DigestOf("").IsZero() || d.IsZero() {
		t.Error("zero is not zero")
	}
	data, err := json.Marshal(d)
	var again ath.Digest
	if err != nil || json.Unmarshal(data, &again) != nil || again != d {
		t.Errorf("it does not come back from %s", data)
	}
	for _, bad := range []string{"", "00", strings.Repeat("0", 63), strings.Repeat("0", 66), strings.Repeat("z", 64)} {
		if err := again.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is a digest", bad)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	for _, seed := range []string{"", "ath_tk_" + tag + "_" + key, "ath_tk_" + strings.Repeat("_", 60), "ath_tk_" + tag + key, "ath_sess_" + tag + "_" + key, tag + "_" + key, "ath_tk_\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if token, err := ath.ParseToken(s); err == nil {
			text := token.Secret().Reveal()
			if text != s || !strings.HasPrefix(s, "ath_tk_"+string(token.Tag())+"_") || len(token.Tag()) != 16 || strings.ContainsAny(string(token.Tag()), "{}:") {
				t.Fatalf("%q was taken with tag %q", s, token.Tag())
			}
		} else if !token.IsZero() || !errors.Is(err, ath.ErrMalformed) {
			t.Fatalf("refused as %v, and yet a token", err)
		}
		if id, err := ath.ParseSessionID(s); err == nil && (id.Secret().Reveal() != s || len(id.Tag()) != 16) {
			t.Fatalf("%q was taken as a session id", s)
		}
		if state, err := ath.ParseState(s); err == nil && (state.Secret().Reveal() != s || len(state.Tag()) != 16) {
			t.Fatalf("%q was taken as a state", s)
		}
	})
}

func FuzzParseClientID(f *testing.F) {
	for _, seed := range []string{"", "ath_" + tag + "_" + key[:22], "ath_" + strings.Repeat("_", 39), "ath_" + tag + key[:23], "ath_\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ath.ParseClientID(s)
		if err != nil {
			if !id.IsZero() {
				t.Fatal("refused, and yet a client")
			}
			return
		}
		if id.String() != s || len(id.Tag()) != 16 || !strings.HasPrefix(s, "ath_"+string(id.Tag())+"_") {
			t.Fatalf("%q was taken with tag %q", s, id.Tag())
		}
	})
}
