package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/catalog"
	"github.com/athd/athd/internal/version"
	"github.com/athd/athd/issuer"
	"github.com/athd/athd/tokenstore"
)

// readyFor is how long an answer of the store is told again, so that whoever
// asks for readiness often does not load the store.
const readyFor = 500 * time.Millisecond

// maxIssuerWarnings is how many warnings there are of issuers, of which there may be
// thousands.
const maxIssuerWarnings = 20

// readiness knows whether requests should come here. It asks each time it is
// asked; the zero value of each part is "no".
type readiness struct {
	store    func(context.Context) (tokenstore.Health, error)
	keyset   func() keysetState              // nil: not asked
	feed     func() tokenstore.Feed          // nil: not asked
	audit    func() (waiting int, err error) // how many events could not be written, and why; nil: not asked
	catalog  func() catalog.Status           // nil: not asked
	issuers  func() []issuer.Status          // nil: not asked
	config   func() configState              // nil: not followed
	warnings []string                        // where it is not

	grpc, http atomic.Bool // the listener serves
	draining   atomic.Bool

	mu     sync.Mutex
	asked  time.Time
	health tokenstore.Health
	err    error
}

// withHealth adds to the companion what Envoy asks it for its own health checks:
// whether requests should come here. The store is not looked at: what all
// replicas lack together is no reason to prefer another one.
func withHealth(companion http.Handler, r *readiness) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch {
		case req.URL.Path != ath.DrainHealthPath || req.Method != http.MethodGet:
			companion.ServeHTTP(w, req)
		case r.draining.Load():
			writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": "draining"})
		default:
			writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
		}
	})
}

// serveHTTP answers 200 only when store, gRPC and HTTP all serve.
func (r *readiness) serveHTTP(w http.ResponseWriter, req *http.Request) {
	rep := r.report(req.Context())
	status := http.StatusOK
	if rep.Status != api.StatusReady {
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, status, rep)
}

func (r *readiness) report(ctx context.Context) api.Readiness {
	health, err := r.ask(ctx)
	store := api.ReadinessCheck{OK: err == nil}
	rep := api.Readiness{Status: api.StatusReady, Version: version.Current().Version, Warnings: slices.Clone(r.warnings)}
	if r.config != nil {
		rep.Warnings = slices.Clone(r.config().Warnings)
	}
	if err != nil {
		store.Error = tokenstore.Reason(err)
	} else {
		store.Server = health.Server
		if !health.Embedded {
			store.Persistent = &health.Persistent
		}
		for _, c := range health.Concerns() {
			rep.Warnings = append(rep.Warnings, c.Text)
		}
	}
	rep.Checks = map[string]api.ReadinessCheck{"store": store, "grpc": {OK: r.grpc.Load()}, "http": {OK: r.http.Load()}}
	for _, c := range rep.Checks {
		if !c.OK {
			rep.Status = api.StatusNotReady
		}
	}
	// Said, but no reason to be sent no requests: they are judged, and rights
	// can be taken away.
	if r.keyset != nil {
		check, warnings := keysetCheck(r.keyset())
		rep.Checks["keyset"] = check
		rep.Warnings = append(rep.Warnings, warnings...)
	}
	if r.config != nil {
		check, warnings := configCheck(r.config())
		rep.Checks["configuration"] = check
		rep.Warnings = append(rep.Warnings, warnings...)
	}
	if r.feed != nil {
		f := r.feed()
		rep.Checks["change_feed"] = feedCheck(f)
		rep.Warnings = append(rep.Warnings, feedWarnings(f)...)
	}
	if r.audit != nil {
		waiting, err := r.audit()
		rep.Checks["audit"] = api.ReadinessCheck{OK: err == nil}
		if text := auditWarning(waiting, err); text != "" {
			rep.Checks["audit"] = api.ReadinessCheck{OK: err == nil, Error: "see warnings"}
			rep.Warnings = append(rep.Warnings, text)
		}
	}
	if r.catalog != nil {
		check, warnings := catalogCheck(r.catalog())
		rep.Checks["runtime_providers"] = check
		rep.Warnings = append(rep.Warnings, warnings...)
	}
	if r.issuers != nil {
		var of []string
		for _, s := range r.issuers() {
			of = append(of, issuerWarnings(s)...)
		}
		if more := len(of) - maxIssuerWarnings; more > 0 {
			of = append(of[:maxIssuerWarnings], fmt.Sprintf("and so %d more issuers", more))
		}
		rep.Warnings = append(rep.Warnings, of...)
	}
	if err == nil {
		// It does not make athd unready: calls of those who have a token go on, and
		// rights can be taken away. No replica of athd could do more.
		rep.Checks["store_writes"] = api.ReadinessCheck{OK: health.Refuses == "", Error: health.Refuses}
	}
	if r.draining.Load() {
		rep.Status = api.StatusDraining
	}
	if rep.Warnings == nil {
		rep.Warnings = []string{}
	}
	return rep
}

func (r *readiness) ask(ctx context.Context) (tokenstore.Health, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.asked) < readyFor {
		return r.health, r.err
	}
	// The answer is told to others too: one caller's patience must not spoil it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	r.health, r.err = r.store(ctx)
	r.asked = time.Now()
	return r.health, r.err
}
