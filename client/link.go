package client

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"strings"
)

// ConsentOrigin is the origin at which users are asked, as scheme and host: a
// link in a refusal counts only if it leads there (P-9). It is what the server
// says of itself: what the reply to a call says of it counts for nothing.
func (d *Discovery) ConsentOrigin(provider string) (string, error) {
	origin := ""
	switch {
	case d.IsApp(provider):
		origin = cmp.Or(d.App.Consent, originOf(d.App.Auth.Register), d.server)
	case d.Gateway != nil:
		origin = cmp.Or(d.Gateway.Consent, originOf(d.Gateway.ID))
	}
	parsed, err := ParseServer(origin, d.insecure)
	if err != nil {
		return "", fmt.Errorf("client: the origin of the consent pages, %.200q, is not one: %w", origin, err)
	}
	return parsed, nil
}

// originOf is scheme and host of a URL; "" if it is none.
func originOf(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// A LinkError is a refusal whose link must not be shown to anybody: it does not
// lead to the consent origin that the server's discovery names (P-9).
type LinkError struct {
	Origin  string // where it would have to lead
	Refusal *Error
}

// Error does not repeat the link.
func (e *LinkError) Error() string {
	return fmt.Sprintf("client: the refusal has a link that does not lead to %s, where the server asks its users: do not open it", e.Origin)
}

// Unwrap is the refusal.
func (e *LinkError) Unwrap() error { return e.Refusal }

// healingLink returns the link by which the same user gives the provider's
// consent again (P-10), after its checks; "" where the refusal has none.
func (c *Client) healingLink(ctx context.Context, e *Error, provider string) (string, error) {
	link, is := e.Details["authorization_url"].(string)
	if !e.own || !is || e.detail("reason") != reauthorizationRequired {
		return "", nil
	}
	found, err := c.Discover(ctx)
	if err != nil {
		return "", err
	}
	origin, err := found.ConsentOrigin(provider)
	if err != nil {
		return "", err
	}
	// Byte by byte, so that no two readers of URLs can differ about where it leads.
	if checkLink(link) != nil || !strings.HasPrefix(link, origin+"/") {
		return "", &LinkError{Origin: origin, Refusal: e}
	}
	return link, nil
}

const reauthorizationRequired = "reauthorization_required"
