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
`)
	if len(found) != 5 {
		t.Errorf("%+v", found)
	}
	wants(t, found, "tokens.backed_off", Fault, "shop gave no tokens", "athctl providers check shop")
	wants(t, found, "tokens.refused", Warning, "shop has refused 2", "athctl connections refresh")
	wants(t, found, "tokens.other_user", Fault, "gallery gave another user's token", "tell the provider")
	wants(t, found, "tokens.unwritten", Fault, "3 new tokens are in athd's memory", "do not kill")
	wants(t, found, "tokens.lost", Warning, "1 new tokens of gallery were lost", "connection_condemned")
}

func TestTokensThatAreRefreshedAreNoFault(t *testing.T) {
	found := tokensOf(t, "athd_refreshes_total{outcome=\"refreshed\",provider=\"shop\"} 7\nathd_refreshes_total{outcome=\"refused\",provider=\"shop\"} 0\nathd_provider_backed_off{provider=\"shop\"} 0\n")
	if len(found) != 1 || found[0].Status != OK || found[0].Found != "nothing is wrong; 7 refreshes since athd started" {
		t.Errorf("%+v", found)
	}
}
