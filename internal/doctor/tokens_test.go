package doctor

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/athd/athd/config"
)

func tokensOf(t *testing.T, metrics string) []Finding {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			t.Errorf("%s is asked", r.URL.Path)
		}
		io.WriteString(w, metrics)
	}))
	defer srv.Close()
	d := &doctor{Config: Config{Admin: &config.Address{Network: "tcp", At: srv.Listener.Addr().String()}}}
	f := &findings{subject: "tokens"}
	d.tokens(t.Context(), f)
	return f.all
}

func TestWhatKeepsTokensFromBeingRefreshedIsSaid(t *testing.T) {
	found := tokensOf(t, `# HELP athd_refreshes_total Calls.
# TYPE athd_refreshes_total counter
athd_refreshes_total{outcome="refreshed",provider="shop"} 7
athd_refreshes_total{outcome="refused",provider="shop"} 2
athd_refreshes_total{outcome="other_user",provider="gallery"} 1
athd_refreshes_total{outcome="unwritten",provider="gallery"} 1
athd_refreshed_tokens_unwritten 3
athd_provider_backed_off{provider="shop"} 1
athd_provider_backed_off{provider="gallery"} 0
athd_upstream_revocations_overdue_seconds 301
athd_upstream_revocations_queued 4
athd_upstream_revocations_total{outcome="revoked",provider="shop"} 8
athd_upstream_revocations_total{outcome="given_up",provider="shop"} 2
athd_upstream_revocations_total{outcome="user_unknown",provider="gallery"} 3
`)
	if len(found) != 8 {
		t.Errorf("%+v", found)
	}
	wants(t, found, "tokens.backed_off", Fault, "shop gave no tokens", "athctl providers check shop")
	wants(t, found, "tokens.refused", Warning, "shop has refused 2", "athctl connections refresh")
	wants(t, found, "tokens.other_user", Fault, "gallery gave another user's token", "tell the provider")
	wants(t, found, "tokens.unwritten", Fault, "3 new tokens are in athd's memory", "do not kill")
	wants(t, found, "tokens.revocations_overdue", Fault, "for 301 s", "Redis")
	wants(t, found, "tokens.not_revoked", Warning, "2 grants may live on at shop", "revocation_failed")
	wants(t, found, "tokens.user_unknown", Warning, "3 grants were not revoked at gallery", "revocation: each")
	wants(t, found, "tokens.lost", Warning, "1 new tokens of gallery were lost", "connection_condemned")
}

func TestTokensThatAreRefreshedAreNoFault(t *testing.T) {
	found := tokensOf(t, "athd_refreshes_total{outcome=\"refreshed\",provider=\"shop\"} 7\nathd_refreshes_total{outcome=\"refused\",provider=\"shop\"} 0\nathd_provider_backed_off{provider=\"shop\"} 0\nathd_upstream_revocations_overdue_seconds 300\nathd_upstream_revocations_total{outcome=\"revoked\",provider=\"shop\"} 1\n")
	if len(found) != 1 || found[0].Status != OK || found[0].Found != "nothing is wrong; 7 refreshes since athd started" {
		t.Errorf("%+v", found)
	}
}
