package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/shop"
)

const (
	introspectTimeout = 3 * time.Second
	maxIntrospection  = 64 << 10 // bytes of a reply
)

// newShop is the demo's API. It knows nothing of agents or athd.
func newShop(t cli.Terminal) *cobra.Command {
	s := newService(t, &cobra.Command{
		Use:     "shop",
		Short:   "the API",
		Example: "  athdemo shop --introspect http://localhost:9000/introspect --secret-file shop.secret",
	})
	listen := s.Flags().String("listen", "127.0.0.1:9001", "`host:port`")
	endpoint := s.Flags().String("introspect", "", "the `URL` where the OAuth server says whose a token is (RFC 7662)")
	file := s.Flags().String("secret-file", "", "the `file` with the secret to ask it with")
	return s.runs(func(ctx context.Context) error {
		secret, err := secretOf(*file)
		if err != nil {
			return err
		}
		return s.serveShop(ctx, *listen, *endpoint, secret)
	}, "introspect", "secret-file")
}

func (s *service) serveShop(ctx context.Context, listen, endpoint string, secret ath.Secret) error {
	ask := &introspector{endpoint: endpoint, secret: secret, client: &http.Client{
		Timeout: introspectTimeout,
		// The secret goes nowhere but to the endpoint.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, trouble: func(err error) { fmt.Fprintf(s.Stderr, "%s: asking about a token: %v\n", s.CommandPath(), err) }}
	return s.serveUntil(ctx, listen, shop.New(ask.lookup))
}

// An introspector asks the OAuth server about each token, each time.
type introspector struct {
	endpoint string
	secret   ath.Secret
	client   *http.Client
	trouble  func(error)
}

// lookup is a [shop.Lookup]. A server that does not answer knows no token:
// then nobody gets in.
func (i *introspector) lookup(token string) (string, []string, bool) {
	user, scopes, ok, err := i.ask(token)
	if err != nil {
		i.trouble(err)
		return "", nil, false
	}
	return user, scopes, ok
}

func (i *introspector) ask(token string) (user string, scopes []string, ok bool, err error) {
	req, err := http.NewRequest(http.MethodPost, //nolint:noctx // its client has a deadline
		i.endpoint, strings.NewReader(url.Values{"token": {token}}.Encode()))
	if err != nil {
		return "", nil, false, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(shopAPI, i.secret.Reveal())
	resp, err := i.client.Do(req)
	if err != nil {
		return "", nil, false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", nil, false, fmt.Errorf("the OAuth server answers %s", resp.Status)
	}
	var reply struct {
		Active     bool
		Sub, Scope string
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxIntrospection)).Decode(&reply); err != nil {
		return "", nil, false, err
	}
	return reply.Sub, strings.Fields(reply.Scope), reply.Active && reply.Sub != "", nil
}
