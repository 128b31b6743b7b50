package main

import (
	"io"
	"log/slog"

	"github.com/athd/athd/config"
)

// newLogger returns the log. It waits for its writer only for a while. level, if it
// is not nil, is the least level from then on, and may be changed.
func newLogger(w io.Writer, c config.LogSettings, level *slog.LevelVar) *slog.Logger {
	p, o := newPatient(w), &slog.HandlerOptions{Level: c.Level}
	if level != nil {
		level.Set(c.Level)
		o.Level = level
	}
	log := slog.New(slog.NewTextHandler(p, o))
	if c.JSON {
		log = slog.New(slog.NewJSONHandler(p, o))
	}
	p.tell = func(lost int64) { log.Error("lines of this log were lost, since nobody read it", "lost", lost) }
	return log
}
