package audit

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/athd/athd/ath"
)

// BenchmarkLine writes the event of an allowed request, and the same by slog
// alone.
func BenchmarkLine(b *testing.B) {
	now := time.Now()
	e := &Event{
		Time: now, Kind: ProxyRequest, AgentID: "https://a.example/agent.json", UserID: "user-1", ProviderID: "shop",
		Effective: ath.Scopes{"products:read", "orders:write"}, DecisionID: "dec_LGp-nu1KUjtWVZez",
	}
	line := make([]byte, 0, 4096)
	b.Run("json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			form{json: true}.line(line[:0], now, e)
		}
	})
	b.Run("text", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			form{}.line(line[:0], now, e)
		}
	})
	b.Run("slog", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r := slog.NewRecord(now, slog.LevelInfo, "audit", 0)
			r.AddAttrs(slog.String("timestamp", e.Time.UTC().Format(time.RFC3339Nano)))
			for _, f := range fields {
				switch {
				case f.list != nil:
					r.AddAttrs(slog.Any(f.name, append([]string{}, f.list(e)...)))
				case f.text != nil && !f.optional:
					r.AddAttrs(slog.String(f.name, f.text(e)))
				}
			}
			_ = slog.NewJSONHandler(io.Discard, nil).Handle(context.Background(), r) //nolint:sloglint // what it costs to write is measured
		}
	})
}
