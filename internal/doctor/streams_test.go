package doctor

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/athd/athd/config"
	"github.com/athd/athd/watch"
)

func TestHowManyExchangesAreWatchedIsSaid(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `athd_streams 12
athd_streams_ended_total{reason="token_revoked"} 3
athd_streams_ended_total{reason="token_expired"} 4
athd_streams_refused_total{limit="per_grant"} 5
athd_streams_refused_total{limit="total"} 0
`)
	}))
	defer srv.Close()
	admin := &config.Address{Network: "tcp", At: srv.Listener.Addr().String()}
	watched := &config.Settings{Streams: watch.Limits{Total: 8000}}
	watched.Envoy.WatchesStreams = true
	for name, c := range map[string]struct {
		settings *config.Settings
		want     string
	}{
		"watched":                        {watched, "12 exchanges now, of at most 8000; 7 ended by athd since it started"},
		"bounded":                        {&config.Settings{}, "none: envoy.streams is bounded, so that Envoy ends exchanges at their token's expiry"},
		"where athd.yaml is not at hand": {nil, "12 exchanges now; 7 ended by athd since it started"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &doctor{Config: Config{Settings: c.settings, Admin: admin}}
			f := &findings{subject: "streams"}
			d.streams(t.Context(), f)
			if len(f.all) != 2 || f.all[1].ID != "streams.watched" || f.all[1].Status != OK || f.all[1].Found != c.want {
				t.Errorf("%+v", f.all)
			}
			wants(t, f.all, "streams.refused", Warning, "5 exchanges were refused", "limits.streams.per_grant")
		})
	}
	f := &findings{subject: "streams"}
	(&doctor{}).streams(t.Context(), f)
	wants(t, f.all, "streams.watched", NotAsked, "listen.admin is not known", "--admin")
}
