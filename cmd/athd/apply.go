package main

import (
	"context"
	"errors"

	"github.com/athd/athd/config"
)

// reload has the assembly follow the files that it was started with. take reads
// them.
func (a *assembly) reload(started config.Snapshot, take func() config.Snapshot) *reloader {
	r := newReloader(started, take)
	r.log, r.trail, r.apply = a.log, a.trail, a.apply
	counts := newReloadMetrics(r.status)
	r.observe = counts.observe
	a.metrics.registry.MustRegister(counts)
	a.ready.config = r.status
	a.reloader = r
	return r
}

// settings are those that athd runs with, which was started with some.
func (a *assembly) settings(started *config.Settings) *config.Settings {
	if a.reloader == nil {
		return started
	}
	return a.reloader.current()
}

// apply has all parts go on with other settings. All that can fail is done first, and
// changes nothing. Then each part takes its settings by one pointer, and what takes
// rights away comes before what gives some.
func (a *assembly) apply(ctx context.Context, next *config.Settings) error {
	doors, err := a.front.make(next)
	if err != nil {
		return err
	}
	admit := func() {}
	if t := next.TLS; t != nil && a.asked.Clients != nil {
		if admit, err = a.asked.Clients.Next(t.Config(), t.ClientSANs); err != nil {
			return err
		}
	}
	if err := a.decider.UsePolicy(next.Policy); err != nil {
		return err
	}
	if err := a.catalog.use(ctx, next); err != nil {
		return errors.Join(err, a.decider.UsePolicy(a.reloader.current().Policy))
	}
	a.streams.Use(next.Streams, next.Envoy.KeepsStreams)
	a.streams.JudgeAll() // by the policy
	a.oauth.UseEgress(next.Egress)
	a.front.open(doors)
	admit()
	if a.level != nil {
		a.level.Set(next.Log.Level)
	}
	a.decider.LimitCalls(next.CallsPerGrant)
	return nil
}
