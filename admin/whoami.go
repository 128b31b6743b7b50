package admin

import (
	"context"

	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/httpapi"
)

// whoAmI tells an operator what its token is worth.
func (s *API) whoAmI(_ context.Context, c *httpapi.Call, _ *httpapi.EmptyRequest) (api.WhoAmI, error) {
	if err := noParameters(c); err != nil {
		return api.WhoAmI{}, err
	}
	c.Quiet = true
	o := c.Operator
	return api.WhoAmI{Name: o.Name, Role: o.Role, SeesUsers: o.MaySeeUsers(), Expires: instant(o.Expires)}, nil
}
