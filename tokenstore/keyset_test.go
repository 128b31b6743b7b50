package tokenstore_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac"

	"github.com/athd/athd/tokenstore"
)

func TestKeysetRoundTrip(t *testing.T) {
	data, err := newKeyset(t).Marshal()
	noErr(t, err)
	again, err := tokenstore.ParseKeyset(data)
	noErr(t, err)
	second, err := again.Marshal()
	noErr(t, err)
	if !bytes.Equal(data, second) {
		t.Fatal("the keyset changed on its way through a file")
	}
	if !strings.Contains(string(data), "XAesGcmKey") {
		t.Errorf("the key is of another kind: %s", again)
	}
	if other, _ := newKeyset(t).Marshal(); bytes.Equal(data, other) {
		t.Error("two new keysets are one")
	}
}

func TestParseKeysetRefuses(t *testing.T) {
	data, err := newKeyset(t).Marshal()
	noErr(t, err)
	handle, err := keyset.NewHandle(mac.HMACSHA256Tag256KeyTemplate())
	noErr(t, err)
	var macs bytes.Buffer
	noErr(t, insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&macs)))

	for name, bad := range map[string]string{
		"nothing":                   "",
		"no JSON":                   "secret-material",
		"an empty object":           "{}",
		"half of a keyset":          string(data[:len(data)/2]),
		"a key of no length":        strings.Replace(string(data), `"value"`, `"valu"`, 1),
		"keys for something else":   macs.String(),
		"a keyset without end":      string(data) + strings.Repeat(" ", 1<<20),
		"a keyset with all key off": strings.ReplaceAll(string(data), "ENABLED", "DISABLED"),
	} {
		t.Run(name, func(t *testing.T) {
			keys, err := tokenstore.ParseKeyset([]byte(bad))
			if err == nil || keys != nil {
				t.Fatalf("it was taken: %v", keys)
			}
			if strings.Contains(err.Error(), "secret-material") {
				t.Errorf("the error holds the input: %v", err)
			}
		})
	}
	if _, err := (&tokenstore.Keyset{}).Marshal(); err == nil {
		t.Error("an empty keyset was written")
	}
}
