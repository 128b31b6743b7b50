package doctor

import (
	"context"
	"fmt"

	"github.com/athd/athd/internal/probe"
)

// streams asks one athd how many exchanges it watches, and whether that is enough.
func (d *doctor) streams(ctx context.Context, f *findings) {
	const asked = "how many exchanges athd watches (/metrics on listen.admin)"
	if d.Admin == nil {
		f.notAsked("watched", asked, "listen.admin is not known", "athctl doctor --admin http://127.0.0.1:9002")
		return
	}
	all, err := probe.Metrics(ctx, d.Admin.Network, d.Admin.At, "athd_streams")
	if err != nil {
		f.notAsked("watched", asked, fmt.Sprintf("athd's metrics cannot be read: %v", err), "see what is said of athd above")
		return
	}
	watched, ended := 0, 0.
	for _, s := range all {
		switch s.Name {
		case "athd_streams":
			watched = int(s.Value)
		case "athd_streams_ended_total":
			ended += s.Value
		case "athd_streams_refused_total":
			if limit := s.Labels["limit"]; s.Value > 0 {
				f.warn("refused", asked, fmt.Sprintf("%.0f exchanges were refused since athd started: as many as limits.streams.%s were watched", s.Value, limit),
					"raise limits.streams."+limit+" if that many are wanted, and give athd and Envoy the memory for them")
			}
		}
	}
	found := fmt.Sprintf("%s now; %.0f ended by athd since it started", counted(watched, "exchange"), ended)
	switch s := d.Settings; {
	case s == nil:
	case !s.Envoy.WatchesStreams:
		found = "none: envoy.streams is bounded, so that Envoy ends exchanges at their token's expiry"
	case s.Streams.Total > 0:
		found = fmt.Sprintf("%s now, of at most %d; %.0f ended by athd since it started", counted(watched, "exchange"), s.Streams.Total, ended)
	}
	f.ok("watched", asked, found)
}
