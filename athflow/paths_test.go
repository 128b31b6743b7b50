package athflow

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/provider"
)

func pathsFlow(t *testing.T) *Flow {
	t.Helper()
	set, err := provider.NewSet()
	if err != nil {
		t.Fatal(err)
	}
	limiter, err := newLimiter(Limits{}, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	c := Config{
		PublicURL: "https://gw.example", ConsentURL: "https://consent.example", Providers: provider.NewProviders(set), Now: time.Now,
		Logger: slog.New(slog.DiscardHandler), Audit: audit.New(audit.Config{Writer: io.Discard}), Turns: NewTurns(),
	}
	pages, err := newPages(c.Turns)
	if err != nil {
		t.Fatal(err)
	}
	return &Flow{Config: c, limiter: limiter, origins: newOrigins(&c), pages: pages}
}

// Each path of the table belongs to its origin, and what refuses it is a page
// where browsers come.
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
			if route := routeOf(path); row.Browser() && route != row.Path {
				t.Errorf("its places are those of %q", route)
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
