package main

import (
	"io"
	"log/slog"
	"time"

	"github.com/athd/athd/audit"
)

// newLogger returns the log. Audit events go to the same place, but not by it:
// no level silences them (U-1).
func newLogger(w io.Writer, c logSettings) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.level}
	if c.json {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// newTrail returns the log of audit events.
func newTrail(w io.Writer, c logSettings, m *metrics, log *slog.Logger) *audit.Log {
	return audit.New(audit.Config{
		Writer: w, JSON: c.json, Late: 50 * time.Millisecond,
		Count: m.countEvent, Dropped: m.countDropped, Logger: log,
	})
}
