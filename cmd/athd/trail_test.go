package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/config"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// N-4
func TestAuditEventsHaveAFileOfTheirOwn(t *testing.T) {
	refused := audit.Event{Kind: audit.AccessDenied, Reason: "token_expired", DecisionID: "dec_refused"}
	action := audit.Event{Kind: audit.AgentSuspended, By: "ops", DecisionID: "dec_deed"}
	allowed := audit.Event{Kind: audit.ProxyRequest, Effective: ath.Scopes{"read"}, DecisionID: "dec_allowed"}
	for _, c := range []struct {
		name           string
		own, requests  bool
		inLog, inFiles string
	}{
		{"by default there is no such file", false, false, "dec_refused dec_deed dec_allowed dec_granted", ""},
		{"what requests pass stays in the log", true, false, "dec_allowed", "dec_refused dec_deed dec_granted"},
		{"unless it is wanted in the file", true, true, "", "dec_refused dec_deed dec_allowed dec_granted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.jsonl")
			s := &config.Settings{Audit: config.AuditSettings{Requests: c.requests, MaxSize: 1 << 20, Keep: 1}}
			if c.own {
				s.Audit.File = path
			}
			var log bytes.Buffer
			events, err := newTrail(&log, s, newMetrics(provider.NewProviders(&provider.Set{})), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range []audit.Event{refused, action, allowed} {
				events.Record(t.Context(), e)
			}
			if err := events.Commit(audit.Event{Kind: audit.AccessGranted, DecisionID: "dec_granted"}); err != nil {
				t.Error(err)
			}
			events.Close()
			var inLog, inFile []string
			for line := range strings.Lines(log.String()) {
				_, id, _ := strings.Cut(line, " decision_id=")
				inLog = append(inLog, strings.Fields(id)[0])
			}
			text, err := os.ReadFile(path)
			if c.own != (err == nil) {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(text)) {
				var e struct {
					ID string `json:"decision_id"`
				}
				if err := json.Unmarshal([]byte(line), &e); err != nil {
					t.Errorf("%v in %q", err, line)
				}
				inFile = append(inFile, e.ID)
			}
			if got := strings.Join(inLog, " "); got != c.inLog {
				t.Errorf("the log has %q, want %q", got, c.inLog)
			}
			if got := strings.Join(inFile, " "); got != c.inFiles {
				t.Errorf("the file has %q, want %q", got, c.inFiles)
			}
			if info, err := os.Stat(path); err == nil && info.Mode().Perm() != 0o600 {
				t.Errorf("the file has mode %v", info.Mode())
			}
		})
	}
}

func TestAFileForEventsMustBePossible(t *testing.T) {
	dir := t.TempDir()
	for name, file := range map[string]string{"no directory": dir + "/none/audit.jsonl", "a directory": dir} {
		s := &config.Settings{Audit: config.AuditSettings{File: file, MaxSize: 1 << 20, Keep: 1}}
		_, err := newTrail(&bytes.Buffer{}, s, newMetrics(provider.NewProviders(&provider.Set{})), slog.New(slog.DiscardHandler))
		if err == nil || !strings.HasPrefix(err.Error(), "audit.file: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A full disk is no mistake of the configuration: what takes rights away
	// must be possible after a restart, too.
	full := dir + "/full"
	if err := os.Symlink("/dev/full", full); err != nil {
		t.Fatal(err)
	}
	s := &config.Settings{Audit: config.AuditSettings{File: full, MaxSize: 1 << 20, Keep: 1}}
	events, err := newTrail(&bytes.Buffer{}, s, newMetrics(provider.NewProviders(&provider.Set{})), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	events.Record(t.Context(), audit.Event{Kind: audit.TokenRevoked})
	r := &readiness{audit: events.Unwritten, store: func(context.Context) (tokenstore.Health, error) { return tokenstore.Health{}, nil }}
	r.grpc.Store(true)
	r.http.Store(true)
	rep := r.report(t.Context())
	if said := strings.Join(rep.Warnings, " "); rep.Status != "ready" || rep.Checks["audit"].OK || !strings.Contains(said, "no space left on device): 1 wait") {
		t.Errorf("%+v", rep)
	}
}

// A stuckWriter takes lines only after it was let go.
type stuckWriter struct {
	let chan struct{}
	got []string
}

func (s *stuckWriter) Write(p []byte) (int, error) {
	<-s.let
	s.got = append(s.got, string(p))
	return len(p), nil
}

func TestNothingHangsOnALogThatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &stuckWriter{let: make(chan struct{})}
		p := newPatient(w)
		defer close(p.lines)
		log := slog.New(slog.NewTextHandler(p, nil))
		p.tell = func(lost int64) { log.Error("lost", "lines", lost) }
		start := time.Now()
		const sent = maxLogLines + 500
		for range sent {
			log.Warn("store operation failed")
		}
		if took := time.Since(start); took > logPatience {
			t.Errorf("it took %v", took)
		}
		close(w.let)
		synctest.Wait()
		told := w.got[len(w.got)-1]
		if n := len(w.got); n < maxLogLines || n > maxLogLines+5 || !strings.Contains(told, "msg=lost lines=") {
			t.Errorf("%d lines came, the last is %q", n, told)
		}
		log.Warn("again")
		if last := w.got[len(w.got)-1]; !strings.Contains(last, "again") {
			t.Errorf("a line is not written when the call returns: %q", last)
		}
	})
}
