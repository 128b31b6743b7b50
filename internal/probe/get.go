package probe

import (
	"context"
	"net"
	"net/http"
)

const maxBytes = 64 << 10

// get asks an admin listener: network is tcp or unix. Redirects are answers.
func get(ctx context.Context, network, at, path string) (*http.Response, error) {
	client := &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true, MaxResponseHeaderBytes: maxBytes,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, at)
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://athd"+path, nil)
	if err != nil {
		return nil, err
	}
	return client.Do(req)
}
