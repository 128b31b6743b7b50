package config

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
)

// S-10
func TestAdminTokensThatCanBeGuessedAreRefused(t *testing.T) {
	for name, token := range map[string]string{
		"one character":                    strings.Repeat("a", 16),
		"one character, often":             strings.Repeat("a", 200),
		"two characters":                   strings.Repeat("ab", 100),
		"a word, again and again":          strings.Repeat("Secret-Token!", 10),
		"digits in a row":                  strings.Repeat("0123456789", 10),
		"all letters in a row":             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
		"and backwards":                    "zyxwvutsrqponmlkjihgfedcbaZYXWVUTSRQPONMLKJIHGFEDCBA9876543210",
		"16 bytes in hex":                  "9f86d081884c7d659a2feaa0c55ad015",
		"31 bytes in hex":                  "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a",
		"24 bytes in base64":               "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is",
		"a number":                         "83920184756102938475610293847561029384756102",
		"a uuid":                           "2f1c7c0e-6c1e-4a53-9d5b-8a5f0c0d7e11",
		"what an earlier athdemo did not":  strings.Repeat("A", 26),
		"a short one that looks like none": "Tr0ub4dor&3",
	} {
		if _, err := checkAdminToken(token); err == nil {
			t.Errorf("%s: %q is accepted", name, token)
		} else if strings.Contains(err.Error(), token) {
			t.Errorf("%s: the token is in %q", name, err)
		}
	}
}

// S-10
func TestAdminTokensOf32RandomBytesAreAccepted(t *testing.T) {
	for range 20_000 {
		b := make([]byte, 32)
		rand.Read(b)
		for name, token := range map[string]string{
			"hex": hex.EncodeToString(b), "HEX": strings.ToUpper(hex.EncodeToString(b)),
			"base64": base64.StdEncoding.EncodeToString(b), "base64url": base64.RawURLEncoding.EncodeToString(b),
			"base32": base32.StdEncoding.EncodeToString(b), "base32 in lower case": strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b)),
		} {
			if earlier, err := checkAdminToken(token); err != nil || earlier {
				t.Fatalf("%s: %s: %v", name, token, err)
			}
		}
		if earlier, err := checkAdminToken(rand.Text()); err != nil || !earlier {
			t.Fatalf("what an earlier athdemo wrote: %v", err)
		}
	}
}
