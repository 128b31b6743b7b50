package main

import (
	"io"
	"log/slog"
)

// newLoggers returns the log, and the log of audit events, which no level
// silences (U-1).
func newLoggers(w io.Writer, c logSettings) (logger, events *slog.Logger) {
	handler := func(level slog.Level) slog.Handler {
		o := &slog.HandlerOptions{Level: level}
		if c.json {
			return slog.NewJSONHandler(w, o)
		}
		return slog.NewTextHandler(w, o)
	}
	return slog.New(handler(c.level)), slog.New(handler(min(c.level, slog.LevelInfo)))
}
