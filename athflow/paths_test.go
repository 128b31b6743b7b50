package athflow

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/athd/athd/admin"
	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/attest"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

func pathsFlow(t *testing.T) *Flow {
	t.Helper()
	set, err := provider.NewSet()
	if err != nil {
		t.Fatal(err)
	}
	store, err := tokenstore.Open(tokenstore.Config{URL: tokenstore.Embedded})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	server, err := httpapi.New(httpapi.Config{Store: store, Logger: slog.New(slog.DiscardHandler), Audit: audit.New(audit.Config{Writer: io.Discard})})
	if err != nil {
		t.Fatal(err)
	}
	operators, err := admin.New(admin.Config{
		Server: server, Providers: provider.NewProviders(set), Attest: &attest.Verifier{}, Policy: approval.Policy{Default: approval.Deny},
		Explain: func(context.Context, authz.Question) (*api.Explanation, error) { return nil, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Server: server, PublicURL: "https://gw.example", ConsentURL: "https://consent.example", Providers: provider.NewProviders(set), Operators: operators.Routes()}
	pages, err := newPages(server.Turns)
	if err != nil {
		t.Fatal(err)
	}
	return &Flow{Config: c, origins: newOrigins(&c), pages: pages}
}

// Each path of the table belongs to its origin.
func TestEveryPathBelongsToItsOrigin(t *testing.T) {
	f := pathsFlow(t)
	for _, row := range ath.Paths() {
		t.Run(row.Path, func(t *testing.T) {
			path := strings.ReplaceAll(row.Sample(), "…", "x")
			for host, on := range map[string]ath.PathOrigins{"gw.example": ath.OnPublic, "consent.example": ath.OnConsent} {
				if got := f.origins.ground(host).answers(path); got != (row.On&on != 0) {
					t.Errorf("%s is answered at %s: %v", path, host, got)
				}
			}
		})
	}
}

// A row of the table without a handler would be let past every check for
// nothing.
func TestEveryWholePathHasAHandler(t *testing.T) {
	h := pathsFlow(t).Handler()
	for _, row := range ath.Paths() {
		if row.Below() || row.Kind == ath.PathDrain {
			continue
		}
		host := "https://gw.example"
		if row.On&ath.OnPublic == 0 {
			host = "https://consent.example"
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("PATCH", host+row.Path, nil))
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") == "" {
			t.Errorf("%s has no handler: %d %s", row.Path, w.Code, w.Body)
		}
	}
}
