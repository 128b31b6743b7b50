package admin

import (
	"context"
	"errors"
	"fmt"

	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/tokenstore"
)

// removeProvider ends a provider that was added while athd runs, also where its record
// does not open, or what is left of one that vanished from a file.
func (s *API) removeProvider(ctx context.Context, c *httpapi.Call, _ *httpapi.EmptyRequest) (api.ProviderRemoveReply, error) {
	c.Event.ProviderID = c.Provider
	// Every removal counts. That of a provider that there is takes rights away, and is
	// never too much; of any other all connections are read.
	if err := s.Changing(c.Event.By); err != nil && !s.Catalog.Known(c.Provider) {
		return api.ProviderRemoveReply{}, err
	}
	if err := noParameters(c); err != nil {
		return api.ProviderRemoveReply{}, err
	}
	t, err := s.teller()
	if err != nil {
		return api.ProviderRemoveReply{}, err
	}
	message := fmt.Sprintf("Provider %s was removed: no request reaches it any more. Its users' connections are being ended, and then it is gone.", c.Provider) + approvalsStay
	record, err := s.Catalog.Read(ctx, c.Provider)
	switch {
	case errors.Is(err, tokenstore.ErrCorrupt):
		c.Event.Before = members{"state": api.ProviderFaulty}.text()
		message += " Its record did not open: athd does not know where its users' tokens are revoked, so end athd's access at its OAuth server, too."
	case err == nil:
		if was, err := storedDocument(record.Config()); err == nil {
			c.Event.Before = t.tell(was)
		}
	}
	if _, err := s.Catalog.Remove(ctx, c.Provider, c.Event.By); err != nil {
		c.Event.Before = ""
		return api.ProviderRemoveReply{}, s.refusedChange(c.Provider, err)
	}
	c.Event.Kind = audit.ProviderRemoved
	return api.ProviderRemoveReply{ID: c.Provider, State: api.ProviderDraining, Message: message}, nil
}
