package ath

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

const renewalHead = "ath_rt_"

// RenewalPrefix starts every renewal token. No part of a call to an API may
// contain it (P-5).
const RenewalPrefix = renewalHead

// A RenewalToken is the refresh_token of a standing consent (T-8),
// ath_rt_<tag>_<key>: opaque, 256 bits of entropy. Its tag is that of the
// connection that it renews ATH tokens of. Without the agent's own key it is good
// for nothing. It prints as redacted.
type RenewalToken struct{ v tagged }

// NewRenewalToken returns a random renewal token of the connection with this tag.
func NewRenewalToken(connection Tag) RenewalToken {
	return RenewalToken{newTagged(renewalHead, connection)}
}

// ParseRenewalToken checks the form of a renewal token, not whether it is valid.
func ParseRenewalToken(s string) (RenewalToken, error) {
	v, ok := parseTagged(renewalHead, s)
	if !ok {
		return RenewalToken{}, ErrMalformed
	}
	return RenewalToken{v}, nil
}

// IsZero reports whether t is no renewal token.
func (t RenewalToken) IsZero() bool { return t.v.text == nil }

// Tag returns the tag of the token's connection.
func (t RenewalToken) Tag() Tag { return t.v.tag }

// Digest is what is stored of the token.
func (t RenewalToken) Digest() Digest { return DigestOf(t.v.reveal()) }

// Secret returns the token, for the replies that contain it.
func (t RenewalToken) Secret() Secret { return NewSecret(t.v.reveal()) }

// String redacts.
func (t RenewalToken) String() string { return redacted }

// RenewalTerms are how long a standing consent holds (T-8): at most Max after the
// user gave it, and no longer than Idle after it was used last. The zero terms, and
// any of which one is not positive, are those of no standing consent.
type RenewalTerms struct{ Max, Idle time.Duration }

// IsZero reports whether there is no standing consent.
func (t RenewalTerms) IsZero() bool { return t.Max < time.Second || t.Idle < time.Second }

// Within returns the shorter of both, each for itself: no standing consent where
// one of the two is none.
func (t RenewalTerms) Within(other RenewalTerms) RenewalTerms {
	if t.IsZero() || other.IsZero() {
		return RenewalTerms{}
	}
	return RenewalTerms{Max: min(t.Max, other.Max), Idle: min(t.Idle, other.Idle)}
}

// String is Max and Idle in whole seconds, such as "7776000-2592000"; "" of the
// zero terms. [ParseRenewalTerms] is the reverse.
func (t RenewalTerms) String() string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(int64(t.Max/time.Second), 10) + "-" + strconv.FormatInt(int64(t.Idle/time.Second), 10)
}

// maxRenewal bounds what is read: 100 years, far from where nanoseconds overflow.
const maxRenewal = 100 * 365 * 24 * time.Hour

var errRenewalTerms = errors.New("renewal terms are two numbers of seconds, MAX-IDLE")

// ParseRenewalTerms reads what [RenewalTerms.String] writes, in its one spelling.
func ParseRenewalTerms(s string) (RenewalTerms, error) {
	if s == "" {
		return RenewalTerms{}, nil
	}
	head, tail, _ := strings.Cut(s, "-")
	seconds, err1 := strconv.ParseInt(head, 10, 64)
	idle, err2 := strconv.ParseInt(tail, 10, 64)
	if err1 != nil || err2 != nil || max(seconds, idle) > int64(maxRenewal/time.Second) {
		return RenewalTerms{}, errRenewalTerms
	}
	t := RenewalTerms{Max: time.Duration(seconds) * time.Second, Idle: time.Duration(idle) * time.Second}
	if t.IsZero() || t.String() != s {
		return RenewalTerms{}, errRenewalTerms
	}
	return t, nil
}

// MarshalText is [RenewalTerms.String].
func (t RenewalTerms) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText is [ParseRenewalTerms].
func (t *RenewalTerms) UnmarshalText(text []byte) (err error) {
	*t, err = ParseRenewalTerms(string(text))
	return err
}
