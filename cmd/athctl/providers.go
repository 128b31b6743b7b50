package main

import (
	"context"
	"net/http"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
)

func (c *adminClient) providers(ctx context.Context) (api.ProviderList, error) {
	var all api.ProviderList
	err := c.ask(ctx, http.MethodGet, ath.AdminProvidersPath, nil, &all)
	return all, err
}
