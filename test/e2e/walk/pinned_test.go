package walk

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/internal/wire"
	"github.com/athd/athd/test/harness/identity"
	"github.com/athd/athd/test/harness/stage"
)

// An agent whose key the operator pins needs no identity host at all, and
// everybody who reads of it reads whose word that is.
// F-37
// proves: A-9
func TestPinnedAgentsNeedNoDocument(t *testing.T) {
	const id = "https://laptop.invalid/alice"
	laptop, key := identity.New(t, id, "What it calls itself")
	file := filepath.Join(t.TempDir(), "laptop.pem")
	if err := os.WriteFile(file, publicPEM(t, key), 0o600); err != nil {
		t.Fatal(err)
	}
	s := stage.Start(t, stage.Options{Embedded: true, Mode: "gateway", Extra: "agents: [{agent_id: \"" + id + "\", public_key_file: \"" + file +
		"\", name: \"Alice's laptop\", developer: {name: \"The office\", id: office}}]"})
	c := s.ClientOf(laptop, wire.Local())
	if _, err := s.Register(c, stage.Provider, "pictures:read"); err != nil {
		t.Fatal(err)
	}
	auth, err := c.Authorize(t.Context(), client.Consent{Provider: stage.Provider, Scopes: []string{"pictures:read"}})
	if err != nil {
		t.Fatal(err)
	}
	b := browser.New()
	defer b.Close()
	page, err := b.Get(t.Context(), auth.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Named by your operator: no domain was checked", "Alice&#39;s laptop", "The office", id} {
		if !strings.Contains(page.Body, want) {
			t.Errorf("the page does not say %q:\n%s", want, page.Body)
		}
	}
	for _, not := range []string{"Only the domain was checked", "What it calls itself", `id="domain"`} {
		if strings.Contains(page.Body, not) {
			t.Errorf("the page says %q:\n%s", not, page.Body)
		}
	}
	token := s.Token(c, stage.Provider, "pictures:read")
	if r := raw(t, s, request(s, "GET", "/ath/proxy/gallery/pictures/7", token.Access.Reveal(), id, "Connection: close")...); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.body)
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", s.Public+"/ath/admin/agents/"+c.Credentials().ClientID, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-ATH-User-Token", stage.AdminKey)
	if r := do(t, req); !strings.Contains(r.body, `"pinned":true`) || !strings.Contains(r.body, `"name":"Alice's laptop"`) {
		t.Errorf("operators read %s", r.body)
	}

	t.Run("A-9: by that key only, and only that id", func(t *testing.T) {
		stranger, _ := identity.New(t, id, "x")
		for name, one := range map[string]*client.Identity{
			"another key": stranger, "another path": identity.With(t, key, "https://laptop.invalid/alice2", "x"), "with a query": identity.With(t, key, id+"?2", "x"),
		} {
			_, err := s.Register(s.ClientOf(one, wire.Local()), stage.Provider, "pictures:write")
			refusal, ok := errors.AsType[*client.Error](err)
			// What is not pinned is fetched, and the host is not there: that no name
			// server may say so here makes it 503.
			if !ok || refusal.Status != http.StatusUnauthorized && (name == "another key" || refusal.Status != http.StatusServiceUnavailable) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	t.Run("A-9: a published key is not pinned", func(t *testing.T) {
		hosted := s.NewAgent("hosted")
		s.Token(hosted, stage.Provider, "pictures:read")
		other, _ := identity.New(t, hosted.Agent().ID(), "x")
		if _, err := s.Register(s.ClientOf(other, wire.Local()), stage.Provider, "pictures:write"); err == nil {
			t.Error("another key than the published one was taken")
		}
	})
}

func publicPEM(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}
