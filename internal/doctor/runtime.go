package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/athd/athd/ath/api"
)

// drainsLong is when connections of a removed provider should have ended: athd tries
// to revoke them for a day.
const drainsLong = 25 * time.Hour

// runtime looks at the providers that were added while athd ran.
func (d *doctor) runtime(ctx context.Context, f *findings) {
	const asked = "the providers that were added while athd runs"
	list, why, cure := d.providerList(ctx)
	switch {
	case why != "":
		f.notAsked("all", asked, why, cure)
		return
	case list.RuntimeUnknown:
		f.fault("all", asked, "athd has not read them since it started: it answers 503 for them", "see what is said of Redis above")
		return
	}
	active, found := 0, 0
	for _, p := range list.Providers {
		if p.Origin != api.ProviderOfRuntime {
			continue
		}
		found++
		if p.State == api.ProviderActive {
			active++
		}
		d.added(p, f)
	}
	if active > 0 && list.Runtime == nil {
		f.fault("route", "whether Envoy has a route for them", "envoy.runtime_providers is false: Envoy leads no request to them", "in "+d.file()+", envoy: {runtime_providers: true}, and athd bootstrap again")
	}
	if len(f.all) == 0 {
		f.ok("all", asked, counted(found, "provider")+"; each is as it should be")
	}
}

// addedAtRuntime are the ids of providers that no file has; why is "" where athd said.
func (d *doctor) addedAtRuntime(ctx context.Context) (ids []string, why, cure string) {
	list, why, cure := d.providerList(ctx)
	if why != "" {
		return nil, why, cure
	}
	for _, p := range list.Providers {
		if p.Origin == api.ProviderOfRuntime {
			ids = append(ids, p.ID)
		}
	}
	return ids, "", ""
}

// added looks at one of them.
func (d *doctor) added(p api.Provider, f *findings) {
	asked := "whether " + p.ID + " serves"
	switch p.State {
	case api.ProviderFaulty:
		id := p.ID
		if id == "" {
			id = "unreadable"
		}
		f.fault(id, asked, "athd cannot use what is stored of it: "+p.Problem, "athctl providers set "+p.ID+" corrects it; a record that does not open was sealed by another keyset or a newer athd")
	case api.ProviderShadowed:
		f.warn(p.ID, asked, "a file defines a provider of the same id, and that one serves", "rename the one in the file, or: athctl providers remove "+p.ID)
	case api.ProviderDraining:
		since, err := time.Parse(time.RFC3339, p.Changed)
		if err == nil && d.Now().Sub(since) > drainsLong {
			f.warn(p.ID, "whether the connections of "+p.ID+" have ended", "it was removed "+p.Changed+", and connections of it are left", "athctl providers show "+p.ID+"; athd's log says what its OAuth server answers")
		}
	}
	if m := p.Metadata; m != nil && p.State == api.ProviderActive {
		switch {
		case !m.Known:
			f.fault(p.ID+".issuer", asked, fmt.Sprintf("its OAuth server's metadata is not known, and it is answered 503: %s", m.Error), "have the server answer, or: athctl providers set "+p.ID+" issuer=URL --secret-file FILE")
		case m.Error != "":
			f.warn(p.ID+".issuer", asked, "its OAuth server's metadata cannot be had now: "+m.Error, "have the server answer; what it said last goes on")
		}
	}
}
