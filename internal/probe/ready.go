package probe

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/athd/athd/ath/api"
)

const maxBytes = 64 << 10

// Ready returns what /readyz says on an admin listener: network is tcp or unix.
func Ready(ctx context.Context, network, at string) (*api.Readiness, error) {
	client := &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true, MaxResponseHeaderBytes: maxBytes,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, at)
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://athd/readyz", nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var r api.Readiness
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxBytes)).Decode(&r); err != nil {
		return nil, fmt.Errorf("what answers at %s is not athd: %w", at, err)
	}
	if r.Status == api.StatusReady && resp.StatusCode != http.StatusOK || r.Status == "" {
		return nil, fmt.Errorf("what answers at %s is not athd: it says %d", at, resp.StatusCode)
	}
	return &r, nil
}
