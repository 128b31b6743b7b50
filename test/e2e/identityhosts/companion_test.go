package identityhosts

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/athflow"
	"github.com/athd/athd/attest"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// startCompanion starts the companion as athd runs it, but for the authority,
// and with private hosts allowed if development. It returns its URL.
func (w *world) startCompanion(t *testing.T, development bool) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	public := "http://" + srv.Listener.Addr().String()
	list, faults := provider.Parse("providers.json", []byte(`{"gallery": {
		"display_name": "The Gallery", "available_scopes": ["pictures:read"], "api_base_url": "https://api.gallery.example",
		"authorize_endpoint": "https://gallery.example/authorize", "token_endpoint": "https://gallery.example/token",
		"client_id": "athd", "client_secret": "client-secret-of-athd-0123456789"}}`), provider.Options{PublicURL: public})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	set, err := provider.NewSet(list...)
	if err != nil {
		t.Fatal(err)
	}
	store, err := tokenstore.Open(tokenstore.Config{URL: tokenstore.Embedded})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	verifier, err := attest.New(attest.Config{
		Once: func(ctx context.Context, a ath.AgentID, what, value string, ttl time.Duration) (bool, error) {
			return store.Once(ctx, a.Tag(), what, value, ttl)
		},
		AllowPrivateHosts: development, InsecureTestingOnlyRootCAs: w.roots,
	})
	if err != nil {
		t.Fatal(err)
	}
	server, err := httpapi.New(httpapi.Config{Store: store, Audit: audit.New(audit.Config{Writer: io.Discard}), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	flow, err := athflow.New(athflow.Config{
		Server: server, PublicURL: public, Providers: provider.NewProviders(set), Attest: verifier, OAuth: provider.NewClient(provider.ClientConfig{}),
		Policy:   approval.Policy{Default: approval.Approve},
		TokenTTL: time.Hour, SessionTTL: 10 * time.Minute, Consent: athflow.ConsentPage,
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Config.Handler = flow.Handler()
	srv.Start()
	t.Cleanup(srv.Close)
	return public
}

// companion registers agents whose hosts are hostile.
func (w *world) companion(t *testing.T, table *table) {
	servers := map[bool]string{false: w.startCompanion(t, false), true: w.startCompanion(t, true)}
	const refused, away = "401 INVALID_ATTESTATION document", "503 INTERNAL_ERROR identity_unreachable" // F-23
	for _, c := range []struct {
		name        string
		say         func(query) answer
		serve       func(h *host) http.HandlerFunc
		development bool
		want        string
		connections int
	}{
		{"an honest host at a public address", at(public4), nil, false, "201", 1},
		{"an honest host at loopback (private hosts allowed)", at("127.0.0.1"), nil, true, "201", 1},
		{"loopback", at("127.0.0.1", "::1"), nil, false, refused, 0},
		{"a private address", at("10.0.0.1"), nil, false, refused, 0},
		{"metadata", at("169.254.169.254"), nil, false, refused, 0},
		{"metadata (private hosts allowed)", at("169.254.169.254", "fd00:ec2::254"), nil, true, refused, 0},
		{"NAT64 loopback (private hosts allowed)", at("64:ff9b::7f00:1"), nil, true, refused, 0},
		{"no such name", at(), nil, false, refused, 0},
		{"a redirect to metadata (private hosts allowed)", at("127.0.0.1"), withStatus(302, "Location", "http://169.254.169.254/"), true, refused, 1},
		{"an endless body (private hosts allowed)", at("127.0.0.1"), raw("HTTP/1.1 200 OK\r\n\r\n", drip(strings.Repeat(" ", 4096), 0)), true, refused, 1},
		{"a body in slow drips (private hosts allowed)", at("127.0.0.1"), raw("HTTP/1.1 200 OK\r\n\r\n", drip(" ", 20*time.Millisecond)), true, away, 1},
		{"a host that is away (private hosts allowed)", at("127.0.0.1"), withStatus(503), true, away, 1},
		{"a name server that fails", is(answer{code: dnsmessage.RCodeServerFailure}), nil, false, away, 0},
		{"public_key twice (private hosts allowed)", at("127.0.0.1"), withBody(replaced(`{`, `{"public_key":{},`)), true, refused, 1},
	} {
		row := table.row("register: "+c.name, c.want)
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w.turn(t)
			if c.want == "201" && !c.development {
				w.needsNamespace(t)
			}
			h := w.newHost(t, w.name())
			h.serveTLS(w.settings)
			w.dns.add(h.name, c.say)
			if c.serve != nil {
				h.answer(c.serve(h))
			}
			start := time.Now()
			reply := register(t, servers[c.development], h)
			row.took, row.got, row.connections = time.Since(start), reply.String(), len(h.connections())
			if row.got != c.want || row.connections != c.connections {
				t.Errorf("got %s over %d connections, want %s over %d", row.got, row.connections, c.want, c.connections)
			}
			if row.took > fetching {
				t.Errorf("took %v", row.took)
			}
			// What is found behind a name is not told to whoever asks: athd is
			// no scanner of the network that it stands in.
			if reply.Code != "" && strings.ContainsAny(reply.Message+reply.Details.Reason, "0123456789") {
				t.Errorf("E-3: the reply tells too much: %+v", reply)
			}
		})
	}
}

// A reply is what the companion says to a registration.
type reply struct {
	status  int
	Code    string `json:"code"`
	Message string `json:"message"`
	Details struct {
		Reason string `json:"reason"`
	} `json:"details"`
}

func (r reply) String() string {
	return strings.TrimSpace(fmt.Sprint(r.status, " ", r.Code, " ", r.Details.Reason))
}

func register(t *testing.T, base string, h *host) (r reply) {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"agent_id": h.id.String(), "agent_attestation": h.attest(h.id, h.key, base, time.Now()),
		"developer":           map[string]string{"name": "Dev", "id": "dev-1"},
		"requested_providers": []any{map[string]any{"provider_id": "gallery", "scopes": []string{"pictures:read"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(base+"/ath/agents/register", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if (resp.StatusCode == 503) != (resp.Header.Get("Retry-After") == "2") {
		t.Errorf("%d with Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || json.Unmarshal(text, &r) != nil {
		t.Fatalf("%v: %q", err, text)
	}
	r.status = resp.StatusCode
	return r
}
