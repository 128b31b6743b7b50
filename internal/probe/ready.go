package probe

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/athd/athd/ath/api"
)

// Ready returns what /readyz says on an admin listener: network is tcp or unix.
func Ready(ctx context.Context, network, at string) (*api.Readiness, error) {
	resp, err := get(ctx, network, at, "/readyz")
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
