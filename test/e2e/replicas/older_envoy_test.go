//go:build older

package replicas

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/wire"
	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/stage"
)

// crossed are the commits whose athd and whose configuration of Envoy are tried with
// those of this one: those with Envoy's part of before, which ext_authz was all of.
var crossed = []string{"058ce80"}

// configured are ways in which this athd has Envoy configured, by keys of envoy that
// the older one does not load.
var configured = []string{
	"", "streams: watched", "replies: checked", "filter: ext_proc", "filter: ext_proc, streams: watched, replies: checked",
}

// What stands in athd.yaml for this athd alone, beside those keys.
const (
	thisRole = ", role: admin"
	thisAuth = "retry_on_401: true"
)

// The rows of a crossing, and what is seen where nothing stands in the way. Those that
// begin with "refused" may never reach an API, whatever is in front of what.
const (
	rowCall      = "call, native"
	rowProxied   = "call, gateway"
	rowPerson    = "a person's request"
	rowRejected  = "call, API answers 401"
	rowHandshake = "handshake"
	rowStream    = "stream, its token revoked"
	rowUnknown   = "refused: unknown token"
	rowScope     = "refused: scope not granted"
	rowStolen    = "refused: another agent's token"
	rowProvider  = "refused: no such provider"
	rowRevoked   = "refused: revoked token"
	rowBare      = "refused: no token, gateway"
)

var usual = map[string]string{
	rowCall: "200", rowProxied: "200", rowPerson: "200", rowRejected: "401 of the API", rowHandshake: "done", rowStream: "goes on",
	rowUnknown: "401 TOKEN_INVALID", rowScope: "403 SCOPE_NOT_APPROVED", rowStolen: "403 AGENT_IDENTITY_MISMATCH",
	rowProvider: "403 PROVIDER_MISMATCH", rowRevoked: "401 TOKEN_REVOKED", rowBare: "401 TOKEN_INVALID",
}

// wants is what a row shows. An older athd is asked by ext_proc in vain, so that all
// that is to be judged is refused; what else athd would hear of goes unheard there, since
// its decisions do not ask for it.
func wants(side, keys, row string) string {
	if side == sides[0] || !strings.Contains(keys, "ext_proc") || row == rowHandshake {
		return usual[row]
	}
	if row == rowStream {
		return "503"
	}
	return "503 INTERNAL_ERROR"
}

// A crossing is an athd behind Envoy as the other one configures it.
type crossing struct {
	*stage.Stage
	t     *testing.T
	agent *client.Client
	held  map[string]client.Token // by provider
	seen  map[string]string
}

// The configuration of Envoy that one athd writes, in front of the other one: agents'
// calls are judged or refused, and no token goes where it does not belong. What
// docs/guides/upgrading.md says of the order of both is what is seen here.
func TestAnOlderAthdOnTheOtherSideOfEnvoy(t *testing.T) {
	for text := range strings.FieldsSeq(os.Getenv("ATHD_OLDER")) {
		base, older, _ := strings.Cut(text, "=")
		if !slices.Contains(crossed, base) {
			continue
		}
		for _, keys := range configured {
			for _, side := range sides {
				t.Run(fmt.Sprintf("%s/%s athd/%s", base, side, or(keys, "by default")), func(t *testing.T) {
					c := cross(t, older, keys, side)
					c.all()
					t.Log(c.String())
					for row := range usual {
						if want := wants(side, keys, row); c.seen[row] != want {
							t.Errorf("%s: %q, want %q", row, c.seen[row], want)
						}
					}
				})
			}
		}
	}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// cross has an agent get its tokens at this athd behind this one's Envoy, and then puts
// the older one on one of both sides.
func cross(t *testing.T, older, keys, side string) *crossing {
	s := stage.Start(t, stage.Options{Unauthenticated: "passthrough", AppOAuth: thisAuth, EnvoyMore: or(keys, "filter: ext_authz")})
	c := &crossing{Stage: s, t: t, agent: s.NewAgent("one"), held: map[string]client.Token{}, seen: map[string]string{}}
	c.held[stage.App] = s.Token(c.agent, stage.App, "products:read")
	other := s.NewAgent("two")
	c.held[stage.Provider] = s.Token(other, stage.Provider, "pictures:read")

	path := filepath.Join(s.Dir, "athd.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	plain := string(text)
	for _, of := range []string{thisRole, thisAuth + ", ", ", " + or(keys, "filter: ext_authz")} {
		if strings.Count(plain, of) != 1 {
			t.Fatalf("athd.yaml has not one %q", of)
		}
		plain = strings.Replace(plain, of, "", 1)
	}
	if side == sides[1] {
		if err := s.Athd.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(plain), 0o600); err != nil {
			t.Fatal(err)
		}
		s.Athd = stage.StartAthd(t, s.Dir, strings.TrimPrefix(s.Athd.Admin, "http://"), stage.Older(older))
		return c
	}
	path = filepath.Join(s.Dir, "older.yaml")
	if err := os.WriteFile(path, []byte(plain), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), older, "bootstrap", "-config", path)
	cmd.Dir = s.Dir
	var failed bytes.Buffer
	cmd.Stderr = &failed
	config, err := cmd.Output()
	if err != nil {
		t.Fatalf("the older athd's bootstrap: %v\n%s", err, &failed)
	}
	s.Envoy.Stop()
	s.Envoy = realenvoy.Start(t, config)
	return c
}

func (c *crossing) all() {
	agent := func(provider string) http.Header {
		token := c.held[provider]
		return wire.AsAgent(token.AgentID, token.Access)
	}
	const apiPath, proxied = "/api/products", "/ath/proxy/" + stage.Provider + "/pictures/1"
	c.App.Serve("/api/products/rejecting", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, "of the API")
	})
	c.call(rowCall, "GET", apiPath, agent(stage.App))
	c.call(rowProxied, "GET", proxied, agent(stage.Provider))
	c.call(rowPerson, "GET", "/", http.Header{})
	c.call(rowRejected, "GET", "/api/products/rejecting", agent(stage.App))

	unknown := c.held[stage.App]
	unknown.Access = ath.NewSecret("ath_tk_" + strings.Repeat("A", 43))
	c.call(rowUnknown, "GET", apiPath, wire.AsAgent(unknown.AgentID, unknown.Access))
	c.call(rowScope, "POST", "/api/cart", agent(stage.App))
	c.call(rowStolen, "GET", apiPath, wire.AsAgent(c.held[stage.Provider].AgentID, c.held[stage.App].Access))
	c.call(rowProvider, "GET", "/ath/proxy/comes-later/pictures/1", agent(stage.Provider))
	c.call(rowBare, "GET", proxied, http.Header{})
	c.handshake()
	c.stream(apiPath+"/stream", agent(stage.App))
	c.call(rowRevoked, "GET", apiPath, agent(stage.App))
}

// call makes one, and looks at what reached APIs and what came back.
func (c *crossing) call(row, method, path string, header http.Header) {
	c.t.Helper()
	c.App.Forget()
	c.Gallery.Forget()
	by := wire.Local()
	defer by.CloseIdleConnections()
	ex, err := wire.Call(c.t.Context(), by, method, c.Public+path, header, nil)
	if err != nil {
		c.t.Errorf("%s: %v", row, err)
		return
	}
	c.seen[row] = how(ex)
	hits := c.App.Hits() + c.Gallery.Hits()
	if strings.HasPrefix(row, "refused") && hits > 0 {
		c.t.Errorf("%s: it reached an API", row)
	}
	if reached := c.seen[row] == "200" || c.seen[row] == "401 of the API"; reached != (hits == 1) {
		c.t.Errorf("%s: %s, and an API was asked %d times", row, c.seen[row], hits)
	}
	arrived := c.App.Bytes() + c.Gallery.Bytes()
	if strings.Contains(strings.ToLower(arrived), "\r\nx-ath-") {
		c.t.Errorf("%s: an API got a header of athd's:\n%s", row, arrived)
	}
	for _, token := range c.held {
		if strings.Contains(arrived, token.Access.Reveal()) {
			c.t.Errorf("%s: an API got the ATH token", row)
		}
	}
	upstream := false
	for _, issued := range c.OAuth.Issued() {
		upstream = upstream || strings.Contains(arrived, "Bearer "+issued)
		if bytes.Contains(ex.Reply, []byte(issued)) {
			c.t.Errorf("%s: the agent got a token of the user's", row)
		}
	}
	if asAgent := hits == 1 && row != rowPerson; upstream != asAgent {
		c.t.Errorf("%s: the user's token arrived: %v, want %v", row, upstream, asAgent)
	}
}

// how is what a reply says in short.
func how(ex *wire.Exchange) string {
	text := fmt.Sprint(ex.Status)
	if string(ex.Reply) == "of the API" {
		return text + " of the API"
	}
	if e := ex.Refusal(); e != nil && e.Code != "" {
		text += " " + string(e.Code)
	}
	return text
}

// handshake takes another agent through all of it.
func (c *crossing) handshake() {
	other := c.NewAgent("three")
	c.seen[rowHandshake] = "done"
	if _, err := c.Register(other, stage.App, "products:read"); err != nil {
		c.seen[rowHandshake] = err.Error()
		return
	}
	c.Token(other, stage.App, "products:read")
}

// stream has the token of an open stream revoked, and says whether it ends.
func (c *crossing) stream(path string, header http.Header) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), "GET", c.Public+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header = header
	by := wire.Local()
	defer by.CloseIdleConnections()
	res, err := by.RoundTrip(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	events := func(n int) error {
		for range n {
			if _, err := io.ReadFull(res.Body, make([]byte, len("data: 0\n\n"))); err != nil {
				return err
			}
		}
		return nil
	}
	c.seen[rowStream] = fmt.Sprint(res.StatusCode)
	if res.StatusCode == http.StatusOK && events(3) != nil {
		c.t.Errorf("the stream ends before its token does")
	}
	if err := c.agent.Revoke(c.t.Context(), c.held[stage.App].Access); err != nil {
		c.t.Fatalf("revoke: %v", err)
	}
	if res.StatusCode == http.StatusOK {
		if c.seen[rowStream] = "goes on"; events(40) != nil {
			c.seen[rowStream] = "ends"
		}
	}
}

func (c *crossing) String() string {
	var b strings.Builder
	for _, row := range slices.Sorted(maps.Keys(c.seen)) {
		fmt.Fprintf(&b, "\n%-34s %s", row, c.seen[row])
	}
	return b.String()
}
