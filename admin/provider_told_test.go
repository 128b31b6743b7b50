package admin

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/tokenstore"
)

// apiOn is an API with a store of its own, of this keyset.
func apiOn(t *testing.T, keys *tokenstore.Keyset) *API {
	t.Helper()
	store, err := tokenstore.Open(tokenstore.Config{URL: tokenstore.Embedded, Keyset: keys})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return &API{Config: Config{Server: &httpapi.Server{Config: httpapi.Config{Store: store}}}}
}

func told(t *testing.T, s *API, text string) string {
	t.Helper()
	d, fault := readDocument([]byte(text))
	if fault != nil {
		t.Fatal(fault)
	}
	teller, err := s.teller()
	if err != nil {
		t.Fatal(err)
	}
	return teller.tell(d)
}

// proves: O-1
func TestDigestsOfSecretsInEventsAreKeyedByTheKeyset(t *testing.T) {
	keys, err := tokenstore.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	const weak = `{"client_secret": "hunter2"}`
	one, two := told(t, apiOn(t, keys), weak), told(t, apiOn(t, keys), weak)
	if one != two {
		t.Errorf("two replicas with one keyset say %s and %s", one, two)
	}
	alone, another := told(t, apiOn(t, nil), weak), told(t, apiOn(t, nil), weak)
	if alone == one || alone == another {
		t.Error("another keyset, or another process without one, says the same")
	}
	for _, guess := range []string{`"hunter2"`, "hunter2"} {
		sum := sha256.Sum256([]byte(guess))
		if strings.Contains(one, hex.EncodeToString(sum[:6])) {
			t.Errorf("%s: a plain digest, which whoever reads the log can guess", one)
		}
	}
	if now := told(t, apiOn(t, keys), `{"client_secret": "hunter3"}`); now == one {
		t.Errorf("another secret does not show: %s", now)
	}
}

// proves: O-1
func TestQueriesOfURLsAreToldAsDigests(t *testing.T) {
	s := apiOn(t, nil)
	for _, url := range []string{"https://login.example/authorize?key=s3cret", "https://login.example/authorize#s3cret", `https:\/\/login.example/authorize\u003fkey=s3cret`} {
		got := told(t, s, `{"authorize_endpoint": "`+url+`"}`)
		if strings.Contains(got, "s3cret") || !strings.Contains(got, "https://login.example/authorize") || !strings.Contains(got, "hmac-sha256:") {
			t.Errorf("%s: %s", url, got)
		}
	}
	const plain = `{"api_base_url":"https://api.example/v1","display_name":"What? Really"}`
	if got := told(t, s, plain); got != plain {
		t.Errorf("%s", got)
	}
}
