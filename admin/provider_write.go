package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/catalog"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/strict"
	"github.com/athd/athd/tokenstore"
)

// byHostAndPath is the Destination of athd in a mesh.
const byHostAndPath = "host_and_path"

// approvalsStay tells an operator what no change of a provider ends: an approval knows
// the provider's id and its scopes by name, as those of files do.
const approvalsStay = " Approvals of agents stay: they go by the provider's id and the names of its scopes."

// A providerReply has the provider's generation as its ETag.
type providerReply struct{ api.ProviderReply }

// SetHeaders implements [httpapi.Headed].
func (r providerReply) SetHeaders(h http.Header) {
	if r.Generation != 0 {
		h.Set("ETag", strconv.Quote(strconv.FormatUint(r.Generation, 10)))
	}
}

// addProvider adds a provider while athd runs.
func (s *API) addProvider(ctx context.Context, c *httpapi.Call, body *[]byte) (providerReply, error) {
	dry, err := s.changing(c)
	if err != nil {
		return providerReply{}, err
	}
	doc, fault := readDocument(*body)
	if fault != nil {
		return providerReply{}, invalidProvider(*fault)
	}
	p, warnings, err := s.parseProvider("", *body)
	if err != nil {
		return providerReply{}, err
	}
	c.Event.ProviderID = p.ID
	if err := s.addable(p); err != nil {
		return providerReply{}, err
	}
	if dry {
		c.Quiet = true
		return dryReply(p, warnings, fmt.Sprintf("Provider %s can be added.", p.ID)), nil
	}
	fields := doc.fields()
	config, err := fields.encode()
	if err != nil {
		return providerReply{}, err
	}
	t, err := s.teller()
	if err != nil {
		return providerReply{}, err
	}
	c.Event.Kind, c.Event.After = audit.ProviderAdded, t.tell(fields)
	if err := s.Commit(c); err != nil {
		return providerReply{}, err
	}
	e, err := s.Catalog.Add(ctx, p.ID, ath.NewSecret(string(config)), c.Event.By)
	if err != nil {
		return providerReply{}, s.refusedChange(p.ID, err)
	}
	return s.replyOf(e, warnings, fmt.Sprintf("Provider %s was added. Agents find it at %s, and it is at %s%s/.", p.ID, ath.DiscoveryPath, ath.ProxyPath, p.ID)), nil
}

// addable says why a provider that is sound cannot be added.
func (s *API) addable(p *provider.Provider) error {
	if !s.RuntimeRoute && s.Destination == byHostAndPath {
		return ath.Errorf(ath.Conflict, "A mesh writes Envoy's routes here, and none of them can lead to providers that are added while it runs: write this one into providers.json.").
			WithDetail("reason", "no_runtime_route")
	}
	if !s.RuntimeRoute {
		return ath.Errorf(ath.Conflict, "Envoy has no route for providers that are added while it runs: set envoy.runtime_providers: true in athd.yaml, "+
			"write Envoy's configuration again (athd bootstrap), and restart Envoy and athd.").WithDetail("reason", "no_runtime_route")
	}
	if p.ID == acceptWord {
		return invalidProvider(api.ProviderFault{Pointer: "/" + memberID, Message: "is a word of this API's paths"})
	}
	if s.Catalog.File(p.ID) != nil {
		return s.refusedChange(p.ID, catalog.ErrFile)
	}
	if !s.Catalog.Loaded() {
		return tokenstore.ErrUnavailable // beside whom it is to fit is not known yet
	}
	if e, there := s.Catalog.Get(p.ID); errors.Is(e.Err, tokenstore.ErrCorrupt) {
		return s.refusedChange(p.ID, e.Err)
	} else if there && e.State == tokenstore.ProviderActive {
		return s.refusedChange(p.ID, catalog.ErrExists)
	}
	if n := s.Catalog.Len(); n >= s.Limits.RuntimeProviders {
		return ath.Errorf(ath.Conflict, "There are %d providers that were added while athd ran, and there may be no more (limits.runtime_providers).", n).
			WithDetail("reason", "too_many_providers")
	}
	if faults := s.fits(p); len(faults) > 0 {
		return invalidProvider(faults...)
	}
	return nil
}

// changeProvider replaces members of a provider that was added while athd ran.
func (s *API) changeProvider(ctx context.Context, c *httpapi.Call, body *[]byte) (providerReply, error) {
	c.Event.ProviderID = c.Provider
	dry, err := s.changing(c)
	if err != nil {
		return providerReply{}, err
	}
	patch, fault := readDocument(*body)
	if fault != nil {
		return providerReply{}, invalidProvider(*fault)
	}
	want, err := generationOf(c.Header, patch)
	if err != nil {
		return providerReply{}, err
	}
	if s.Catalog.File(c.Provider) != nil {
		return providerReply{}, s.refusedChange(c.Provider, catalog.ErrFile)
	}
	if !s.Catalog.Loaded() {
		return providerReply{}, tokenstore.ErrUnavailable
	}
	for round := 1; ; round++ {
		reply, err := s.changeOnce(ctx, c, patch, want, dry)
		if !errors.Is(err, catalog.ErrChanged) {
			return reply, err
		}
		if want != 0 {
			return reply, s.refusedChange(c.Provider, err)
		}
		if err := httpapi.Backoff(ctx, round); err != nil {
			return providerReply{}, err
		}
	}
}

// changeOnce changes the provider as it is stored now. The error is
// [catalog.ErrChanged] where it is another one by then, or is not of the generation
// that is wanted.
func (s *API) changeOnce(ctx context.Context, c *httpapi.Call, patch document, want uint64, dry bool) (providerReply, error) {
	record, err := s.Catalog.Read(ctx, c.Provider)
	if err != nil {
		return providerReply{}, s.refusedChange(c.Provider, err)
	}
	if want != 0 && record.Generation() != want {
		return providerReply{}, catalog.ErrChanged
	}
	was, err := storedDocument(record.Config())
	if err != nil {
		return providerReply{}, err
	}
	next := was.merge(patch)
	if id := next[memberID]; id != nil && string(id) != strconv.Quote(c.Provider) {
		return providerReply{}, invalidProvider(api.ProviderFault{Pointer: "/" + memberID, Message: "is another one than the path's: a provider keeps its id"})
	}
	next = next.fields()
	config, err := next.encode()
	if err != nil {
		return providerReply{}, err
	}
	p, warnings, err := s.parseProvider(c.Provider, config)
	if err != nil {
		return providerReply{}, err
	}
	if err := s.secretAgain(record, was, patch, p); err != nil {
		return providerReply{}, err
	}
	if faults := s.fits(p); len(faults) > 0 {
		return providerReply{}, invalidProvider(faults...)
	}
	before, after := differ(was, next)
	switch {
	case dry:
		c.Quiet = true
		return dryReply(p, warnings, fmt.Sprintf("Provider %s can be changed so.", p.ID)), nil
	case len(before)+len(after) == 0:
		c.Quiet = true
		e, _ := s.Catalog.Get(p.ID)
		return s.replyOf(e, warnings, fmt.Sprintf("Provider %s was that already: nothing was changed.", p.ID)), nil
	}
	t, err := s.teller()
	if err != nil {
		return providerReply{}, err
	}
	c.Event.Kind, c.Event.Before, c.Event.After = audit.ProviderChanged, t.tell(before), t.tell(after)
	if err := s.Commit(c); err != nil {
		return providerReply{}, err
	}
	e, err := s.Catalog.Change(ctx, record, ath.NewSecret(string(config)), c.Event.By)
	if errors.Is(err, catalog.ErrChanged) {
		return providerReply{}, err
	}
	if err != nil {
		return providerReply{}, s.refusedChange(p.ID, err)
	}
	message := fmt.Sprintf("Provider %s was changed.", p.ID)
	if e.Ending {
		message += " Connections that were made before lead elsewhere, and end: their users are asked again." + approvalsStay
	}
	return s.replyOf(e, warnings, message), nil
}

// secretAgain refuses a change by which a secret that is kept would go to a new place
// (O-1). Whose stored configuration cannot be read any more is not known to stay.
func (s *API) secretAgain(record *catalog.Record, was, patch document, now *provider.Provider) error {
	moved := []string{"token_endpoint"}
	before, _ := provider.ParseOne(record.ID(), []byte(record.Config().Reveal()), s.ProviderOptions)
	if before != nil {
		moved = provider.Moved(before, now)
	}
	var faults []api.ProviderFault
	for _, name := range kept(was, patch, moved) {
		faults = append(faults, api.ProviderFault{Pointer: "/" + name, Message: "is wanted again: " + strings.Join(moved, ", ") +
			" changes, and a secret that is kept never goes to a new place"})
	}
	if len(faults) > 0 {
		return invalidProvider(faults...)
	}
	return nil
}

// changing counts a change of an operator's, and reads whether it is only tried.
func (s *API) changing(c *httpapi.Call) (dry bool, err error) {
	if err := s.Changing(c.Event.By); err != nil {
		return false, err
	}
	return dryRun(c.Query)
}

func dryRun(q url.Values) (dry bool, err error) {
	for name, values := range q {
		if name != "dry_run" || len(values) > 1 || values[0] != "true" {
			return false, ath.Errorf(ath.InvalidRequest, "This path takes dry_run=true, and no other parameter.")
		}
		dry = true
	}
	return dry, nil
}

// generationOf reads which generation a change is meant for; 0: whichever there is.
func generationOf(h http.Header, patch document) (uint64, error) {
	var want []string
	for _, text := range h.Values("If-Match") {
		if text != "" && text != "*" {
			want = append(want, strings.TrimSuffix(strings.TrimPrefix(text, `"`), `"`))
		}
	}
	if v, ok := patch[memberGeneration]; ok {
		want = append(want, string(v))
	}
	if len(want) == 0 {
		return 0, nil
	}
	n, err := strconv.ParseUint(want[0], 10, 64)
	if err != nil || n == 0 || slices.ContainsFunc(want, func(other string) bool { return other != want[0] }) {
		return 0, invalidProvider(api.ProviderFault{Pointer: "/" + memberGeneration, Message: "want the generation of a reply before, as a number, or the same in If-Match"})
	}
	return n, nil
}

// parseProvider reads a provider as the files' are read.
func (s *API) parseProvider(id string, data []byte) (*provider.Provider, []api.ProviderFault, error) {
	var warnings []api.ProviderFault
	opt := s.ProviderOptions
	opt.Warn = func(f strict.Fault) {
		warnings = append(warnings, api.ProviderFault{Pointer: f.Pointer, Message: f.Message})
	}
	p, faults := provider.ParseOne(id, data, opt)
	if faults != nil {
		var all []api.ProviderFault
		for _, f := range faults {
			all = append(all, api.ProviderFault{Pointer: f.Pointer, Message: f.Message})
		}
		return nil, nil, invalidProvider(all...)
	}
	return p, warnings, nil
}

// maxFaults is how many a reply names.
const maxFaults = 100

// invalidProvider refuses a document, with each of its faults (O-1). No fault holds a
// value of it.
func invalidProvider(faults ...api.ProviderFault) error {
	first := strings.TrimSpace(strings.TrimPrefix(faults[0].Pointer, "/") + " " + faults[0].Message)
	message := "The provider is not valid: " + first + "."
	if more := len(faults) - 1; more > 0 {
		message = fmt.Sprintf("The provider is not valid: %s; details.errors has %d more.", first, more)
	}
	return ath.Errorf(ath.InvalidRequest, "%s", message).WithDetail("errors", faults[:min(len(faults), maxFaults)])
}

// refusedChange says to an operator why a provider cannot be changed.
func (s *API) refusedChange(id string, err error) error {
	conflict := func(reason, format string, args ...any) error {
		return ath.Errorf(ath.Conflict, format, args...).WithDetail("reason", reason)
	}
	switch {
	case errors.Is(err, catalog.ErrExists):
		return conflict("exists", "There is a provider %s already: PUT %s/%s changes it.", id, ath.AdminProvidersPath, id)
	case errors.Is(err, catalog.ErrFile):
		where := "providers_file"
		if p := s.Catalog.File(id); p != nil && p.App != nil {
			where = "apps of athd.yaml"
		} else if s.ProvidersFile != "" {
			where = s.ProvidersFile
		}
		return conflict("of_a_file", "Provider %s is defined in %s: what a file defines is changed there.", id, where)
	case errors.Is(err, catalog.ErrDraining):
		return conflict("draining", "Provider %s was removed, and connections of it are still being ended: try again when GET %s/%s says 404, or add it under another id.", id, ath.AdminProvidersPath, id)
	case errors.Is(err, catalog.ErrEnding):
		return conflict("ending", "Provider %s was changed several times, and connections of before are still being ended: try again later.", id)
	case errors.Is(err, catalog.ErrChanged):
		return conflict("changed", "Provider %s was changed by somebody else meanwhile: look at it again.", id)
	case errors.Is(err, catalog.ErrNotFound):
		return ath.Errorf(ath.NotFound, "There is no such provider. All are listed at %s.", ath.AdminProvidersPath)
	case errors.Is(err, tokenstore.ErrCorrupt):
		return conflict("record_corrupt", "The stored record of provider %s does not open: it was written with another keyset, or tampered with. Give athd that key back, or DELETE %s/%s and add the provider again.", id, ath.AdminProvidersPath, id)
	case errors.Is(err, tokenstore.ErrTooManyProviders):
		return conflict("too_many_providers", "There are as many providers as the store takes.")
	}
	return err
}
