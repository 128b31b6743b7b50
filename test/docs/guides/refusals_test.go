package guides

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/athd/athd/internal/wire"
	"github.com/athd/athd/test/harness/identity"
	"github.com/athd/athd/test/harness/stage"
)

// A forge makes attestations of one agent, with something wrong.
type forge struct {
	t   *testing.T
	id  string
	key *ecdsa.PrivateKey
}

func (f forge) attest(audience string, change func(jwt.MapClaims)) string {
	f.t.Helper()
	now := time.Now()
	claims := jwt.MapClaims{
		"iss": f.id, "sub": f.id, "aud": audience, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "jti": rand.Text(),
	}
	change(claims)
	token := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	token.Header["kid"] = "key-1"
	s, err := token.SignedString(f.key)
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

// Each reason of troubleshooting.md comes from what the page says, and looks
// as it shows; the log has the cause at the level debug.
//
// proves
func TestRefusedAttestationsLookAsShown(t *testing.T) {
	page := read(t, "docs/guides/troubleshooting.md")
	s := stage.Start(t, stage.Options{Mode: "native", Embedded: true})
	own, key := s.NewAgentVia("a", wire.Local())
	id := own.Agent().ID()
	f := forge{t, id, key}
	_, strange := identity.New(t, id, "a")
	same := func(jwt.MapClaims) {}
	set := func(claim string, value any) func(jwt.MapClaims) {
		return func(c jwt.MapClaims) {
			if c[claim] = value; value == nil {
				delete(c, claim)
			}
		}
	}
	now := time.Now()
	other := strings.Replace(s.Public, "127.0.0.1", "localhost", 1)
	used := f.attest(s.Public, same)
	nobody, none := "http://127.0.0.1:1/agent.json", s.Agents+"/none.json"
	for _, c := range []struct{ reason, agentID, attestation string }{
		{"malformed", id, f.attest(s.Public, set("jti", nil))},
		{"algorithm", id, strings.Replace(used, used[:strings.Index(used, ".")], "eyJhbGciOiJIUzI1NiIsImtpZCI6ImtleS0xIn0", 1)},
		{"expired", id, f.attest(s.Public, func(c jwt.MapClaims) {
			c["iat"], c["exp"] = now.Add(-2*time.Minute).Unix(), now.Add(-time.Minute).Unix()
		})},
		{"times", id, f.attest(s.Public, func(c jwt.MapClaims) {
			c["iat"], c["exp"] = now.Add(-10*time.Minute).Unix(), now.Add(50*time.Minute).Unix()
		})},
		{"audience", id, f.attest(other, same)},
		{"issuer", id, f.attest(s.Public, set("iss", "https://elsewhere.example"))},
		{"document", none, forge{t, none, f.key}.attest(s.Public, same)},
		{"identity_unreachable", nobody, forge{t, nobody, f.key}.attest(s.Public, same)},
		{"signature", id, (forge{t, id, strange}).attest(s.Public, same)},
		{"", id, f.attest(s.Public, set("sub", "https://elsewhere.example/agent.json"))},
		{"replay", id, used},
	} {
		t.Run("INVALID_ATTESTATION "+c.reason, func(t *testing.T) {
			if c.reason == "replay" {
				if status, _ := register(t, s, c.agentID, c.attestation); status != http.StatusCreated {
					t.Fatalf("the first use is answered with %d", status)
				}
			}
			status, reply := register(t, s, c.agentID, c.attestation)
			want, code := http.StatusUnauthorized, "INVALID_ATTESTATION"
			if c.reason == "identity_unreachable" {
				want, code = http.StatusServiceUnavailable, "INTERNAL_ERROR"
			}
			if status != want || reply.Code != code || reply.Details.Reason != c.reason {
				t.Fatalf("answered with %d %+v", status, reply)
			}
			row := regexp.MustCompile("(?m)^\\| `" + c.reason + "` \\| " + regexp.QuoteMeta(reply.Message) + " \\|")
			if c.reason == "" {
				row = regexp.MustCompile(regexp.QuoteMeta("| none | " + reply.Message + " |"))
			}
			if !row.MatchString(page) {
				t.Errorf("the page has no row %s", row)
			}
			cause := logged(t, s, reply.Details.Decision)
			if quoted := regexp.MustCompile(`attestation refused \(` + c.reason + `\): ([^"\\]*)`).FindStringSubmatch(cause); c.reason != "" && (quoted == nil || c.reason != "document" && c.reason != "identity_unreachable" && !strings.Contains(page, quoted[1])) {
				t.Errorf("the page does not quote the cause: %s", cause)
			}
		})
	}
}

// A refusal is what athd answers.
type refusal struct {
	Code, Message string
	Details       struct {
		Reason   string
		Decision string `json:"decision_id"`
	}
}

func register(t *testing.T, s *stage.Stage, agentID, attestation string) (status int, reply refusal) {
	t.Helper()
	body, err := json.Marshal(object{
		"agent_id": agentID, "agent_attestation": attestation, "developer": object{"name": "Somebody", "id": "somebody"},
		"requested_providers": []any{object{"provider_id": stage.App, "scopes": []string{"products:read"}}},
		"purpose":             "trying", "redirect_uris": []string{s.Public + "/ath/callback"},
	})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(s.Public+"/ath/agents/register", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&reply); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, reply
}

// logged returns the line of athd's log that tells the cause of a decision. It
// may come a moment after the reply.
func logged(t *testing.T, s *stage.Stage, decision string) string {
	t.Helper()
	for range 100 {
		for line := range strings.Lines(s.Athd.Logs()) {
			if strings.Contains(line, decision) && strings.Contains(line, `"cause"`) {
				return line
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("the log does not tell the cause of %s", decision)
	return ""
}

// oauth-servers.md tells what an agent sees when the user's own access token
// has ended, and the server refuses to refresh it.
//
// proves: P-6
func TestAnEndedAccessTokenLooksAsShown(t *testing.T) {
	s := stage.Start(t, stage.Options{Mode: "native", Embedded: true, AccessTTL: 2 * time.Second, Refreshable: true})
	a := s.NewAgent("a")
	token := s.Token(a, stage.App, "products:read")
	s.EndGrants()
	for range 100 {
		got := s.Call(a, token, "GET", "/api/products")
		if got.Status == http.StatusOK {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		body := regexp.MustCompile(`dec_[\w-]+`).ReplaceAllString(string(got.Reply), "dec_…")
		body = regexp.MustCompile(`"(discovery|authorization_url)":"[^"]+"`).ReplaceAllString(body, `"$1":"…"`) // at a port of this run
		if got.Status != http.StatusUnauthorized || !strings.Contains(read(t, "docs/guides/oauth-servers.md"), strings.TrimSpace(body)) {
			t.Errorf("answered with %d, and the page does not show %s", got.Status, body)
		}
		return
	}
	t.Error("the call passes for ever")
}
