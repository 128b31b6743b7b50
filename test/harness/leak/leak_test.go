package leak_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/athd/athd/test/harness/leak"
)

func TestPlantedSecretsAreFound(t *testing.T) {
	secret := "ath_tk_0123456789abcdef_-_planted??>>~~"
	secrets := []leak.Secret{{Name: "token", Value: secret}}
	plants := map[string]string{
		"plain": "x " + secret + " y", "hex": "00" + hex.EncodeToString([]byte(secret)) + "ff",
		"URL": url.QueryEscape(secret), "path": url.PathEscape(secret),
		"upper-case hex": strings.ToUpper(hex.EncodeToString([]byte(secret))),
	}
	for before := range 7 {
		for after := range 4 {
			text := []byte(strings.Repeat("q", before) + secret + strings.Repeat("z", after))
			plants[fmt.Sprintf("base64 %d %d", before, after)] = base64.StdEncoding.EncodeToString(text)
			plants[fmt.Sprintf("base64url %d %d", before, after)] = base64.RawURLEncoding.EncodeToString(text)
		}
	}
	for name, text := range plants {
		finds, err := leak.Scan(map[string][]byte{"log": []byte("noise " + text + " noise")}, secrets)
		if err != nil || len(finds) == 0 {
			t.Errorf("%s: not found (%v)", name, err)
		}
	}
	for name, text := range map[string]string{
		"nothing": "noise", "half": secret[:len(secret)/2], "another": strings.ReplaceAll(secret, "planted", "PLANTED"),
	} {
		if finds, err := leak.Scan(map[string][]byte{"log": []byte(text)}, secrets); err != nil || len(finds) > 0 {
			t.Errorf("%s: found %v (%v)", name, finds, err)
		}
	}
}

func TestShortValuesAreRefused(t *testing.T) {
	if _, err := leak.Scan(nil, []leak.Secret{{Name: "short", Value: "abc"}}); err == nil {
		t.Error("a value that occurs by chance was looked for")
	}
}
