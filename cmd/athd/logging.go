package main

import (
	"io"
	"log/slog"

	"github.com/athd/athd/config"
)

// newLogger returns the log. It waits for its writer only for a while.
func newLogger(w io.Writer, c config.LogSettings) *slog.Logger {
	p, o := newPatient(w), &slog.HandlerOptions{Level: c.Level}
	log := slog.New(slog.NewTextHandler(p, o))
	if c.JSON {
		log = slog.New(slog.NewJSONHandler(p, o))
	}
	p.tell = func(lost int64) { log.Error("lines of this log were lost, since nobody read it", "lost", lost) }
	return log
}
