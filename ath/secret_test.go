package ath_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
)

func TestSecretDoesNotPrint(t *testing.T) {
	const value = "swordfish-swordfish"
	token, err := ath.ParseToken("ath_tk_" + strings.Repeat("T", 16) + "_" + strings.Repeat("k", 43))
	if err != nil {
		t.Fatal(err)
	}
	session, err := ath.ParseSessionID("ath_sess_" + strings.Repeat("T", 16) + "_" + strings.Repeat("k", 43))
	if err != nil {
		t.Fatal(err)
	}
	state, err := ath.ParseState(strings.Repeat("T", 16) + "_" + strings.Repeat("k", 43))
	if err != nil {
		t.Fatal(err)
	}
	s := ath.NewSecret(value)
	type inner struct {
		secret  ath.Secret
		token   ath.Token
		session ath.SessionID
		state   ath.State
	}
	type outer struct {
		Public ath.Secret
		Token  ath.Token
		inner  inner
		ptr    *inner
		list   []ath.Secret
		table  map[string]ath.Token
		any    any
	}
	in := inner{s, token, session, state}
	all := map[string]any{
		"secret": s, "secret pointer": &s, "token": token, "token pointer": &token, "session id": session, "state": state,
		"struct": outer{s, token, in, &in, []ath.Secret{s}, map[string]ath.Token{"t": token}, s},
		"slice":  []any{s, token, &s, session, state}, "map": map[string]any{"s": s, "t": token}, "secret keys": map[ath.Secret]int{s: 1},
		"error": fmt.Errorf("wrapped %w and %v", errors.New("e"), s),
	}
	for name, value := range all {
		t.Run(name, func(t *testing.T) {
			var printed bytes.Buffer
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%T", "%10.3s", "%p", "%U", "%c", "%e", "%b", "%o", "%w"} {
				fmt.Fprintf(&printed, verb+"\n", value)
			}
			fmt.Fprint(&printed, value)
			fmt.Fprintln(&printed, value)
			for _, h := range []slog.Handler{slog.NewTextHandler(&printed, nil), slog.NewJSONHandler(&printed, nil)} {
				l := slog.New(h)
				l.Info("x", "v", value)
				l.With("v", value).WithGroup("g").Info("x", slog.Any("v", value), slog.Group("g", "v", value))
				l.Info(fmt.Sprint(value))
			}
			if data, err := json.Marshal(value); err == nil {
				printed.Write(data)
			}
			for _, secret := range []string{"swordfish", strings.Repeat("k", 43)} {
				for form, text := range map[string]string{"plain": secret, "hex": hex.EncodeToString([]byte(secret)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(secret)))} {
					if strings.Contains(printed.String(), text) {
						t.Errorf("it shows in %s:\n%s", form, printed.String())
					}
				}
			}
		})
	}
	if text, err := s.MarshalText(); err != nil || strings.Contains(string(text), value) {
		t.Errorf("as text it is %s, %v", text, err)
	}
}

func TestSecretReveals(t *testing.T) {
	s := ath.NewSecret("abc")
	if s.Reveal() != "abc" || s.IsZero() {
		t.Error("it does not hold what it was given")
	}
	for _, c := range []struct {
		name   string
		secret ath.Secret
		other  string
		want   bool
	}{
		{"the same", s, "abc", true},
		{"another", s, "abd", false},
		{"a part", s, "ab", false},
		{"nothing", s, "", false},
		{"an empty secret and nothing", ath.NewSecret(""), "", false},
		{"the zero secret and nothing", ath.Secret{}, "", false},
		{"the zero secret and something", ath.Secret{}, "abc", false},
	} {
		if got := c.secret.Equal(c.other); got != c.want {
			t.Errorf("%s: equal is %v", c.name, got)
		}
	}
	if !ath.NewSecret("").IsZero() || (ath.Secret{}).Reveal() != "" {
		t.Error("empty is not zero")
	}
}

func TestSecretTextReadsAndDoesNotPrint(t *testing.T) {
	var got struct{ S ath.SecretText }
	if err := json.Unmarshal([]byte(`{"S":"hidden"}`), &got); err != nil || got.S.Reveal() != "hidden" {
		t.Errorf("%v, %v", got.S.IsZero(), err)
	}
	if text, err := json.Marshal(got); err != nil || strings.Contains(string(text)+fmt.Sprintf("%v %+v %#v", got, got, got), "hidden") {
		t.Errorf("it prints: %s, %v", text, err)
	}
	if err := json.Unmarshal([]byte(`{"S":7}`), &got); err == nil {
		t.Error("a number is taken for a secret")
	}
}
