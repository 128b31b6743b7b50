package ath_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
)

// proves: T-8, T-3
func TestRenewalTokens(t *testing.T) {
	text := "ath_rt_" + tag + "_" + key
	got, err := ath.ParseRenewalToken(text)
	if err != nil || string(got.Tag()) != tag || got.Secret().Reveal() != text || got.Digest() != ath.DigestOf(text) || fmt.Sprintf("%v%+v", got, got) != "[redacted][redacted]" {
		t.Errorf("%v, %v", got, err)
	}
	for _, s := range []string{"", "ath_tk_" + tag + "_" + key, "ath_rt_" + tag + "_" + key[1:], text + "k", "ATH_RT_" + tag + "_" + key, "ath_rt_" + tag[1:] + "}_" + key} {
		if got, err := ath.ParseRenewalToken(s); !errors.Is(err, ath.ErrMalformed) || !got.IsZero() {
			t.Errorf("%q is taken", s)
		}
	}
	if _, err := ath.ParseToken(text); err == nil {
		t.Error("a renewal token is taken for an ATH token")
	}
	one, two := ath.NewRenewalToken(ath.Tag(tag)), ath.NewRenewalToken(ath.Tag(tag))
	if again, err := ath.ParseRenewalToken(one.Secret().Reveal()); err != nil || again.Digest() != one.Digest() || one.Digest() == two.Digest() || string(one.Tag()) != tag {
		t.Error("what is made is not new, or does not parse")
	}
}

// proves: T-8
func TestRenewalTerms(t *testing.T) {
	const day = 24 * time.Hour
	terms := ath.RenewalTerms{Max: 90 * day, Idle: 30 * day}
	if got, err := ath.ParseRenewalTerms("7776000-2592000"); err != nil || got != terms || terms.String() != "7776000-2592000" {
		t.Errorf("%v, %v", got, err)
	}
	for _, s := range []string{"1", "-", "1-", "-1", "0-1", "1-0", "01-1", "1-1-1", "+1-1", "1--1", " 1-1", "1.5-1", "9223372036854775807-1", "1-99999999999", strings.Repeat("9", 30) + "-1"} {
		if got, err := ath.ParseRenewalTerms(s); err == nil || !got.IsZero() {
			t.Errorf("%q is read as %v", s, got)
		}
	}
	for _, none := range []ath.RenewalTerms{{}, {Max: day}, {Idle: day}, {Max: day, Idle: -day}, {Max: time.Millisecond, Idle: day}} {
		if !none.IsZero() || none.String() != "" || !terms.Within(none).IsZero() || !none.Within(terms).IsZero() {
			t.Errorf("%v is a standing consent", none)
		}
	}
	if got := terms.Within(ath.RenewalTerms{Max: 7 * day, Idle: 60 * day}); got != (ath.RenewalTerms{Max: 7 * day, Idle: 30 * day}) {
		t.Errorf("within: %v", got)
	}
	var back struct{ T, None ath.RenewalTerms }
	if text, err := json.Marshal(struct{ T, None ath.RenewalTerms }{T: terms}); err != nil || json.Unmarshal(text, &back) != nil || back.T != terms || !back.None.IsZero() {
		t.Errorf("%v, %v", back, err)
	}
}
