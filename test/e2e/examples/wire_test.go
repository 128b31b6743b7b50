package examples

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// A sent is one request as it arrived.
type sent struct {
	line, contentType, authorization, agentID string
	body                                      map[string]any
}

// A recorder answers like an ATH server that knows nothing of the protocol.
type recorder struct {
	*httptest.Server
	mu   sync.Mutex
	sent []sent
}

func newRecorder(t *testing.T) *recorder {
	r := &recorder{}
	replies := map[string]string{
		"GET /.well-known/ath.json": `{"supported_providers":[{"provider_id":"gallery","available_scopes":["read","write"]}]}`,
		"POST /ath/agents/register": `{"client_id":"ath_1","client_secret":"ath_secret_1","agent_status":"approved",
			"approved_providers":[{"provider_id":"gallery","approved_scopes":["read"]}]}`,
		"POST /ath/authorize": `{"authorization_url":"https://gw.example/go","ath_session_id":"ath_sess_1"}`,
		"POST /ath/token":     `{"access_token":"ath_tk_1","expires_in":3600,"effective_scopes":["read"],"agent_id":%q}`,
		"POST /ath/revoke":    `{}`,
	}
	called, agentID := false, ""
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		got := sent{line: req.Method + " " + req.RequestURI, contentType: req.Header.Get("Content-Type"),
			authorization: req.Header.Get("Authorization"), agentID: req.Header.Get("X-ATH-Agent-ID")}
		if text, _ := io.ReadAll(io.LimitReader(req.Body, 1<<16)); len(text) > 0 {
			if err := json.Unmarshal(text, &got.body); err != nil {
				t.Errorf("%s is not JSON: %s", got.line, text)
			}
		}
		r.sent = append(r.sent, got)
		if id, ok := got.body["agent_id"].(string); ok {
			agentID = id
		}
		reply, ok := replies[got.line]
		switch {
		case ok && got.line == "POST /ath/token":
			fmt.Fprintf(w, reply, agentID)
		case ok:
			io.WriteString(w, reply)
		case called:
			w.Header().Set("X-ATH-Decision-ID", "dec_1")
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, `{"code":"SCOPE_NOT_APPROVED","message":"no","details":{"decision_id":"dec_1"}}`)
		default: // the first call passes, and the API says something
			called = true
			w.Header().Set("Location", "/elsewhere") // which nobody may follow with a token
			w.WriteHeader(http.StatusFound)
			io.WriteString(w, `not even JSON`)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// What agents' authors copy is what clients in the field send.
// proves: A-3
func TestAgentsOfOtherLanguagesOnTheWire(t *testing.T) {
	for _, agent := range languages(t) {
		t.Run(agent.name, func(t *testing.T) {
			server, port := newRecorder(t), freePort(t)
			run := agent.start(t, server.URL+"/", "--provider", "gallery", "--scope", "read", "--call", "GET /pictures",
				"--outside", "DELETE /pictures", "--port", port, "--state", filepath.Join(t.TempDir(), "state.json"))
			run.until("and paste the code")
			id := "http://127.0.0.1:" + port + "/agent.json"
			key := published(t, id)
			fmt.Fprintln(run.input, " ath_code_1 ")
			lines, stderr, err := run.end()
			if err != nil {
				t.Fatalf("%v\n%s\n%s", err, strings.Join(lines, "\n"), stderr)
			}
			said := strings.Join(lines, "\n")
			if !strings.Contains(said, "\n5. Call: GET /pictures -> 302\n   not even JSON\n") || !strings.HasSuffix(said, "-> 403 SCOPE_NOT_APPROVED: no") {
				t.Errorf("P-9: what the API said, and a refusal, are told as\n%s", said)
			}

			want := []struct{ line, fields, audience string }{
				{"GET /.well-known/ath.json", "", ""},
				{"POST /ath/agents/register", "agent_attestation agent_id developer purpose redirect_uris requested_providers", server.URL},
				{"POST /ath/authorize", "agent_attestation client_id provider_id scopes state user_redirect_uri", server.URL},
				{"POST /ath/token", "agent_attestation ath_session_id client_id client_secret code grant_type", server.URL + "/ath/token"},
				{"GET /ath/proxy/gallery/pictures", "", ""},
				{"DELETE /ath/proxy/gallery/pictures", "", ""},
				{"POST /ath/revoke", "client_id client_secret token", ""},
				{"GET /ath/proxy/gallery/pictures", "", ""},
			}
			if len(server.sent) != len(want) {
				t.Fatalf("%d requests, want %d: %+v", len(server.sent), len(want), server.sent)
			}
			tickets := map[any]bool{}
			for i, w := range want {
				got := server.sent[i]
				var fields []string
				for name := range got.body {
					fields = append(fields, name)
				}
				slices.Sort(fields)
				if got.line != w.line || strings.Join(fields, " ") != w.fields || (w.fields != "") != (got.contentType == "application/json") {
					t.Errorf("request %d is %s with %v as %q", i, got.line, fields, got.contentType)
				}
				if w.audience != "" {
					tickets[attested(t, got.body["agent_attestation"], key, id, w.audience)] = true
				}
				isCall := strings.Contains(w.line, "/ath/proxy/")
				if isCall && (got.authorization != "Bearer ath_tk_1" || got.agentID != id) || !isCall && got.authorization+got.agentID != "" {
					t.Errorf("%s has Authorization %q and X-ATH-Agent-ID %q", got.line, got.authorization, got.agentID)
				}
			}
			if len(tickets) != 3 {
				t.Errorf("A-5: %d different jti in three attestations", len(tickets))
			}
			register, authorize, token := server.sent[1].body, server.sent[2].body, server.sent[3].body
			callback := server.URL + "/ath/callback"
			if fmt.Sprint(register["redirect_uris"]) != "["+callback+"]" || authorize["user_redirect_uri"] != callback {
				t.Errorf("redirects are %v, %v", register["redirect_uris"], authorize["user_redirect_uri"])
			}
			if state := fmt.Sprint(authorize["state"]); !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(state) {
				t.Errorf("state is %q", state)
			}
			if token["grant_type"] != "authorization_code" || token["code"] != "ath_code_1" || token["client_secret"] != "ath_secret_1" {
				t.Errorf("the token request is %v", token)
			}
		})
	}
}

// attested checks an attestation as a server does, and returns its jti.
func attested(t *testing.T, compact any, key *ecdsa.PublicKey, id, audience string) any {
	t.Helper()
	claims := jwt.MapClaims{}
	text, _ := compact.(string)
	token, err := jwt.ParseWithClaims(text, claims, func(*jwt.Token) (any, error) { return key, nil },
		jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuedAt())
	if err != nil {
		t.Fatalf("%v: %v", compact, err)
	}
	// F-24: Python's has typ and kid, TypeScript's is jose's own.
	if header := fmt.Sprint(token.Header); header != "map[alg:ES256 kid:key-1 typ:JWT]" && header != "map[alg:ES256]" {
		t.Errorf("the header is %v", header)
	}
	issued, _ := claims["iat"].(float64)
	expires, _ := claims["exp"].(float64)
	if claims["iss"] != id || claims["sub"] != id || claims["aud"] != audience || expires-issued != 3600 || len(claims) != 6 {
		t.Errorf("A-3: the claims for %s are %v", audience, claims)
	}
	return claims["jti"]
}

// published fetches an identity document and returns its key.
func published(t *testing.T, id string) *ecdsa.PublicKey {
	t.Helper()
	resp, err := http.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var doc struct {
		Version   string                    `json:"ath_version"`
		AgentID   string                    `json:"agent_id"`
		Name      string                    `json:"name"`
		Developer struct{ Name, ID string } `json:"developer"`
		PublicKey map[string]string         `json:"public_key"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	k := doc.PublicKey
	if doc.Version != "0.1" || doc.AgentID != id || doc.Name == "" || doc.Developer.Name == "" || doc.Developer.ID == "" ||
		k["kty"] != "EC" || k["crv"] != "P-256" || k["d"] != "" {
		t.Errorf("A-1: the identity document is %+v", doc)
	}
	x, errX := base64.RawURLEncoding.DecodeString(k["x"])
	y, errY := base64.RawURLEncoding.DecodeString(k["y"])
	if errX != nil || errY != nil {
		t.Fatal(errX, errY)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	if err != nil {
		t.Fatal(err)
	}
	return key
}
