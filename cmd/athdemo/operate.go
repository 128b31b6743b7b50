package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/ready"
	"github.com/athd/athd/internal/transcript"
	"github.com/athd/athd/internal/wire"
)

// addProvider is the operator, who adds a provider while everything runs, and
// the agent, which uses it at once: athd and Envoy go on as they were started.
func (w *walk) addProvider(ctx context.Context) error {
	secret, err := os.ReadFile(w.path("client.secret"))
	if err != nil {
		return err
	}
	w.line("   The operator adds a provider:")
	ex, err := w.operate(ctx, http.MethodPost, ath.AdminProvidersPath, map[string]any{
		"provider_id": addedID, "display_name": "The Bazaar", "available_scopes": []string{"products:read"},
		"issuer": w.OAuth, "authorize_endpoint": w.OAuth + "/authorize", "token_endpoint": w.OAuth + "/token", "userinfo_endpoint": w.OAuth + "/userinfo",
		"api_base_url": w.Shop + "/api", "client_id": clientID, "client_secret": string(secret),
	})
	if err != nil {
		return err
	}
	var added api.ProviderReply
	if ex.Status != http.StatusCreated || json.Unmarshal(ex.Reply, &added) != nil {
		return fmt.Errorf("the provider was not added: %d %s", ex.Status, transcript.Shorten(string(ex.Reply)))
	}
	w.check(added.ID == addedID && added.HasSecret, "O-1: the provider is there, with its secret", added)
	w.check(!bytes.Contains(ex.Reply, secret), "O-1: which never comes back", "it")

	w.line("\n   The agent looks again, and registers for it:")
	offered, err := w.offered(ctx)
	if err != nil {
		return err
	}
	w.check(slices.Contains(offered, addedID), "D-3: agents see it in the very next discovery", offered)
	scopes := []string{"products:read"}
	if _, err := w.client.Register(ctx, client.Registration{Provider: addedID, Scopes: scopes, Purpose: "Shopping on behalf of the user"}); err != nil {
		return err
	}
	authorization, err := w.client.Authorize(ctx, client.Consent{Provider: addedID, Scopes: scopes})
	if err != nil {
		return err
	}
	code, err := w.consentAgain(ctx, authorization.URL)
	if err != nil {
		return err
	}
	token, err := w.client.Exchange(ctx, authorization, ath.NewSecret(code))
	if err != nil {
		return err
	}
	w.token, w.renewal = token.Access, token.Renewal
	w.line("\n   And calls it, through the Envoy that was started before:")
	return w.reaches(ctx, reaching{http.MethodGet, ath.ProxyPath + addedID + "/products", "/api/products", nil})
}

// removeProvider takes it away again.
func (w *walk) removeProvider(ctx context.Context) error {
	ex, err := w.operate(ctx, http.MethodDelete, ath.AdminProvidersPath+"/"+addedID, nil)
	if err != nil {
		return err
	}
	w.check(ex.Status/100 == 2, "O-1: the provider is removed", ex.Status)
	offered, err := w.offered(ctx)
	if err != nil {
		return err
	}
	w.check(!slices.Contains(offered, addedID), "D-3: agents do not see it any more", offered)
	const path = ath.ProxyPath + addedID + "/products"
	before := len(w.shop.Seen())
	if ex, err = w.callAs(ctx, w.agent.ID(), http.MethodGet, path, nil); err != nil {
		return err
	}
	// By the provider, which is not there, or by the token, which is ended with it meanwhile.
	w.check(ex.Status == http.StatusForbidden || ex.Status == http.StatusUnauthorized, "P-3: the provider's next call is refused", ex.Status)
	w.check(len(w.shop.Seen()) == before, "the shop saw nothing", len(w.shop.Seen())-before)
	if err := w.ended(ctx); err != nil {
		return err
	}
	return w.refused(ctx, w.agent.ID(), http.MethodGet, path, http.StatusUnauthorized, ath.TokenRevoked, "O-2: what its users had allowed has ended with it")
}

// ended waits until the connections of the provider that was removed have ended.
func (w *walk) ended(ctx context.Context) error {
	token, err := w.adminToken()
	if err != nil {
		return err
	}
	by := wire.Local()
	defer by.CloseIdleConnections()
	missing, err := ready.Wait(ctx, func(ctx context.Context) (string, error) {
		ex, err := wire.Call(ctx, by, http.MethodGet, w.Public+ath.AdminProvidersPath+"/"+addedID, token, nil)
		if err != nil || ex.Status == http.StatusNotFound {
			return "", err
		}
		return "its connections are being ended", nil
	}, func(string) {})
	if missing != "" {
		return fmt.Errorf("the provider %s: %s", addedID, missing)
	}
	return err
}

// operate is a request of the operator's, with the admin token.
func (w *walk) operate(ctx context.Context, method, path string, body any) (*wire.Exchange, error) {
	token, err := w.adminToken()
	if err != nil {
		return nil, err
	}
	return wire.Call(ctx, w.by, method, w.Public+path, token, body)
}

// adminToken is the header of the operator's requests.
func (w *walk) adminToken() (http.Header, error) {
	token, err := os.ReadFile(w.path("admin.token"))
	return http.Header{"X-Ath-User-Token": {strings.TrimSpace(string(token))}}, err
}

// offered are the ids of the gateway's providers, as the agent finds them.
func (w *walk) offered(ctx context.Context) (ids []string, err error) {
	found, err := w.client.Discover(ctx)
	if err != nil {
		return nil, err
	}
	if found.Gateway == nil {
		return nil, errors.New("the server is no gateway")
	}
	for _, p := range found.Gateway.Providers {
		ids = append(ids, p.ID)
	}
	return ids, nil
}

// consentAgain is the user once more: athd's page, login and consent at the OAuth
// server.
func (w *walk) consentAgain(ctx context.Context, url string) (string, error) {
	w.line("\n   The user opens the link, presses Allow, logs in, and presses Allow there:")
	page, err := w.browser.Get(ctx, url)
	for range 3 {
		if err != nil || len(page.Forms) == 0 {
			break
		}
		form := page.Form()
		if len(form.Values("password")) > 0 {
			form = form.Fill("username", userName).Fill("password", userPassword)
		} else {
			form = form.Click("Allow")
		}
		page, err = w.browser.Submit(ctx, form)
	}
	w.browsing()
	if err != nil {
		return "", err
	}
	code := athCode.FindString(page.Body)
	if page.Status != http.StatusOK || code == "" {
		return "", fmt.Errorf("the last page has status %d and no code: %s", page.Status, transcript.Shorten(page.Text))
	}
	return code, nil
}
