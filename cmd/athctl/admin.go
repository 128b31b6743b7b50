package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/config"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/remote"
)

const (
	maxReplyBytes = 32 << 20 // a page of a thousand agents, each with all its approvals
	maxTokenBytes = 4 << 10
	patience      = 30 * time.Second // for one request
)

// An adminClient asks one server as an operator.
type adminClient struct {
	base  string
	token ath.Secret
	http  *http.Client
}

// newClient reads the token and checks where it would be sent.
func newClient(server, tokenFile string, allowHTTP bool) (*adminClient, error) {
	base, err := remote.Base(server, allowHTTP, "the admin token")
	if err != nil {
		return nil, err
	}
	token, err := readToken(tokenFile)
	if err != nil {
		return nil, fmt.Errorf("the admin token: %w", err)
	}
	return &adminClient{
		base: base, token: token, http: newHTTP(nil)}, nil
}

// newHTTP goes to an address, whatever a URL says; nil: to where the URL says.
func newHTTP(at *config.Address) *http.Client {
	c := &http.Client{
		Timeout: patience,
		// Whoever redirects us must not get the token.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if at != nil {
		c.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, at.Network, at.At)
		}}
	}
	return c
}

func readToken(path string) (ath.Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return ath.Secret{}, err
	}
	defer f.Close()
	return readLine(f, path)
}

// readLine reads a token that stands alone. from is where, for people.
func readLine(r io.Reader, from string) (ath.Secret, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxTokenBytes+1))
	if err != nil {
		return ath.Secret{}, err
	}
	token := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if !ath.IsVisible(token) {
		return ath.Secret{}, fmt.Errorf("%s does not hold one line of visible ASCII", from)
	}
	if token == "" || len(text) > maxTokenBytes {
		return ath.Secret{}, fmt.Errorf("%s is empty, or too long for a token", from)
	}
	return ath.NewSecret(token), nil
}

// A refusal is what the server said no with.
type refusal struct {
	Status   int
	Code     ath.Code            `json:"code"`
	Message  string              `json:"message"`
	Decision string              `json:"-"`
	Field    string              `json:"-"`
	Reason   string              `json:"-"`
	Errors   []api.ProviderFault `json:"-"`
}

func (r *refusal) Error() string {
	text := fmt.Sprintf("%s: %s", cli.Printable(string(r.Code), 60), cli.Printable(r.Message, 500))
	if r.Field != "" {
		text += " (field " + cli.Printable(r.Field, 100) + ")"
	}
	for _, e := range r.Errors {
		text += "\n  " + cli.Printable(strings.TrimSpace(e.Pointer+" "+e.Message), 1000)
	}
	if r.Decision != "" {
		text += " [" + cli.Printable(r.Decision, 60) + "]"
	}
	return text
}

// next says what the operator can do about it, after a command on agents or another.
func (r *refusal) next(ofAgents bool) string {
	switch {
	case r.Code == ath.Unauthorized:
		return "check that --token-file is one of the files in admin.tokens of that athd, and has not expired: its log says so"
	case r.Code == ath.Forbidden:
		return "ask an operator with that role, or use the file of such a token; athctl whoami says what this one is good for"
	case r.Code == ath.RateLimited:
		return "wait a little and try again"
	case r.Reason == "other_keyset":
		return "give that athd the keyset that this Redis was written with (store.keyset_file), or another Redis"
	case remote.ByEnvoy(r.Decision) && strings.Contains(r.Message, "athd"):
		return "it is Envoy that answers, since athd is away or late: see that athd runs; where its log ends it says why"
	case remote.ByEnvoy(r.Decision):
		return "it is Envoy that answers, not athd: look for the id in Envoy's access log, whose flags and details say what is away"
	case r.Status == http.StatusServiceUnavailable && strings.Contains(r.Message, "put on record"):
		return "athd's audit log cannot be written: make room for it; athd's /readyz says why. Rights can be taken away meanwhile"
	case r.Status == http.StatusServiceUnavailable && strings.Contains(r.Message, "under way"):
		return "athd has too much to do; try again"
	case r.Status == http.StatusServiceUnavailable:
		return "athd's store does not answer; try again, and look at athd's /readyz"
	}
	switch r.Reason {
	case "exists":
		return "athctl providers set changes it"
	case "of_a_file":
		return "change the file; athd reads it again by itself"
	case "changed":
		return "athctl providers show shows what it is now, and its generation"
	case "draining", "ending":
		return "athctl providers show says how many connections are left"
	case "no_runtime_route":
		return "athd bootstrap writes the route"
	}
	if len(r.Errors) > 0 {
		return "correct what is named; docs/providers.md has the fields"
	}
	if ofAgents {
		switch r.Code {
		case ath.NotFound:
			return "athctl agents list shows which agents there are"
		case ath.Conflict:
			return "athctl agents show CLIENT_ID shows what the agent asked for; name it with --scope PROVIDER/SCOPE"
		case ath.InvalidRequest:
			return "athctl agents show CLIENT_ID shows what the agent asked for"
		}
	}
	if r.Code == ath.NotFound && strings.Contains(r.Message, "connection") {
		return "athctl connections list shows which there are"
	}
	if r.Code == ath.NotFound {
		return "check that --server is athd's public URL, or, with admin.public: false, the address of its listen.admin; and that the athd there is as new as athctl"
	}
	return "look for the decision_id in athd's log"
}

// ask sends a request and decodes the reply.
func (c *adminClient) ask(ctx context.Context, method, path string, body, into any) error {
	var text io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		text = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, text)
	if err != nil {
		return err
	}
	req.Header.Set("X-ATH-User-Token", c.token.Reveal())
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		cause := err
		if u := (*url.Error)(nil); errors.As(err, &u) {
			cause = u.Err
		}
		return fmt.Errorf("%s cannot be asked: %w\nnext: check --server, and that Envoy and athd run there", c.base, cause)
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(resp.Body, maxReplyBytes+1))
	if err != nil {
		return fmt.Errorf("%s: the reply broke off: %w", c.base, err)
	}
	if len(reply) > maxReplyBytes {
		return fmt.Errorf("%s: the reply is larger than %d bytes", c.base, maxReplyBytes)
	}
	if resp.StatusCode/100 == 2 {
		if err := json.Unmarshal(reply, into); err == nil {
			return nil
		}
		return fmt.Errorf("%s answered %d, but not as athd does\nnext: check that --server is athd's public URL", c.base, resp.StatusCode)
	}
	return refusalOf(c.base, resp.StatusCode, reply)
}

func refusalOf(base string, status int, reply []byte) error {
	var said struct {
		refusal
		Details struct {
			Decision string              `json:"decision_id"`
			Field    string              `json:"field"`
			Reason   string              `json:"reason"`
			Errors   []api.ProviderFault `json:"errors"`
		} `json:"details"`
	}
	if json.Unmarshal(reply, &said) != nil || said.Code == "" {
		return fmt.Errorf("%s answered %d, but not as athd does\nnext: check that --server is athd's public URL", base, status)
	}
	r := said.refusal
	r.Status, r.Decision, r.Field, r.Reason = status, said.Details.Decision, said.Details.Field, said.Details.Reason
	r.Errors = said.Details.Errors
	return &r
}
