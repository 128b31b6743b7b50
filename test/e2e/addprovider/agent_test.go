package addprovider

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/tokenstore"
)

// A caller is an agent with a token for one provider, whose user has consented.
type caller struct {
	agent, token, provider string
}

// hold stores what a handshake leaves behind, so that there are agents that can
// call from the moment at which their provider is there.
func (w *world) hold(provider, host string) (caller, error) {
	of := stage.RegisteredAgent("https://agents.example/"+provider+"/"+string(ath.NewTag())+".json", ath.Scopes{"things:read"}, provider)
	c := stage.NewConsent(of, provider, "https://login.example/token athd https://"+net.JoinHostPort(host, w.port))
	err := w.store.CreateAgent(w.t.Context(), of)
	if err == nil {
		err = c.Put(w.t, w.store)
	}
	return caller{of.ID, c.Token.Secret().Reveal(), provider}, err
}

// call goes through an Envoy. The body of a 200 is the path that the API saw.
func (w *world) call(envoy int, c caller) (status int, body string, err error) {
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "http://"+w.At[envoy]+ath.ProxyPath+c.provider+"/things/7", nil)
	if err != nil {
		return 0, "", err
	}
	req.Host = w.Public
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("X-Ath-Agent-Id", c.agent)
	resp, err := w.Client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	return resp.StatusCode, string(text), err
}

// fields is a provider at a host, as an operator gives it.
func (w *world) fields(host, path string) map[string]any {
	return map[string]any{
		"display_name": "Added", "available_scopes": []string{"things:read"}, "client_id": "athd", "client_secret": stage.Secret,
		"authorize_endpoint": "https://login.example/authorize", "token_endpoint": "https://login.example/token",
		"api_base_url": "https://" + net.JoinHostPort(host, w.port) + path,
		"scope_rules":  []any{map[string]any{"scope": "things:read", "methods": []string{"GET"}, "paths": []string{"/things/**"}}},
	}
}

// add, change and remove do it at one athd, and say so only where they did.
func (w *world) add(envoy int, id, host string) error {
	fields := w.fields(host, "/v1")
	fields["provider_id"] = id
	return w.want(http.StatusCreated)(w.Operate(envoy, http.MethodPost, ath.AdminProvidersPath, fields))
}

func (w *world) change(envoy int, id, host string) error {
	return w.want(http.StatusOK)(w.Operate(envoy, http.MethodPut, ath.AdminProvidersPath+"/"+id,
		map[string]any{"api_base_url": "https://" + net.JoinHostPort(host, w.port) + "/v2", "client_secret": stage.Secret}))
}

func (w *world) remove(envoy int, id string) error {
	return w.want(http.StatusAccepted)(w.Operate(envoy, http.MethodDelete, ath.AdminProvidersPath+"/"+id, nil))
}

func (w *world) want(status int) func(int, string, error) error {
	return func(got int, body string, err error) error {
		if err == nil && got != status {
			err = fmt.Errorf("the operator's API answers %d, want %d: %s", got, status, body)
		}
		return err
	}
}

// addQuietly stores providers before any athd runs.
func (w *world) addQuietly(n int) {
	w.t.Helper()
	for i := range n {
		w.put(fmt.Sprintf("idle-%d", i), w.fields("127.0.0.1", fmt.Sprintf("/of-%d", i)))
	}
}

func (w *world) put(id string, fields map[string]any) {
	w.t.Helper()
	text, err := json.Marshal(fields)
	if err != nil {
		w.t.Fatal(err)
	}
	held, err := w.store.RuntimeProvider(w.t.Context(), id)
	if err == nil {
		_, err = w.store.SwapRuntimeProvider(w.t.Context(), held, tokenstore.RuntimeProvider{ID: id, Config: ath.NewSecret(string(text)), Created: time.Now(), CreatedBy: "tests"})
	}
	if err != nil {
		w.t.Fatalf("storing %s: %v", id, err)
	}
}
