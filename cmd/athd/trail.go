package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/athd/athd/audit"
	"github.com/athd/athd/config"
)

// newTrail returns the log of audit events. They go to stream, by default in
// the form of the log there but not by it: no level silences them (U-1).
func newTrail(stream io.Writer, s *config.Settings, m *metrics, log *slog.Logger) (*audit.Log, error) {
	c := audit.Config{
		Writer: stream, JSON: s.Log.JSON, Late: 50 * time.Millisecond,
		Count: m.countEvent, Dropped: m.countDropped, Logger: log, Now: s.Store.Now,
	}
	switch s.Audit.File {
	case "":
	case "/dev/stdout":
		c.Writer, c.JSON = os.Stdout, true
	case "/dev/stderr":
		c.JSON = true
	default:
		file, err := audit.OpenFile(audit.FileConfig{Path: s.Audit.File, MaxSize: s.Audit.MaxSize, Keep: s.Audit.Keep, Logger: log})
		if err != nil && !audit.Passing(err) {
			return nil, fmt.Errorf("audit.file: %w", err)
		}
		c.Writer, c.JSON = file, true
	}
	if s.Audit.File != "" && !s.Audit.Requests {
		c.Requests, c.RequestsJSON = stream, s.Log.JSON
	}
	return audit.New(c), nil
}

// auditWarning is what /readyz says of events that cannot be written, "" if
// all are.
func auditWarning(waiting int, err error) string {
	switch {
	case err != nil:
		return fmt.Sprintf("audit events cannot be written (%v): %d wait; until they are, nothing is granted, and rights can be taken away", err, waiting)
	case waiting > 0:
		return fmt.Sprintf("events of allowed requests cannot be written: %d wait", waiting)
	}
	return ""
}
