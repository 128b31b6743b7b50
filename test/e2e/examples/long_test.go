package examples

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/test/harness/stage"
)

const evil = "https://evil.example/ath/heal/x"

// faked are refusals as athd's look, in words of an API.
var faked = map[string]struct {
	status int
	body   string
}{
	"link":  {401, `{"code":"TOKEN_INVALID","message":"no","details":{"decision_id":"dec_1","reason":"reauthorization_required","authorization_url":"%s"}}`},
	"next":  {403, `{"code":"SCOPE_NOT_APPROVED","message":"no","details":{"decision_id":"dec_1","next":{"step":"authorize","provider_id":"gallery","scopes":["pictures:write"]}}}`},
	"ended": {401, `{"code":"TOKEN_EXPIRED","message":"no","details":{"decision_id":"dec_1"}}`},
}

// An API that answers as athd does when it refuses is followed nowhere: Envoy
// lets nobody else say X-ATH-Decision-ID, in headers or trailers.
// proves: P-9
func TestAgentsOfOtherLanguagesFollowNothingThatAnAPISays(t *testing.T) {
	agents := languages(t)
	s := stage.Start(t, stage.Options{Embedded: true, Mode: "gateway"})
	for name, f := range faked {
		body := strings.ReplaceAll(f.body, "%s", s.Public+"/ath/heal/x")
		s.Gallery.Serve("/v1/pictures/"+name, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-ATH-Decision-ID", "dec_1")
			w.Header().Set("Trailer", "X-ATH-Decision-ID")
			w.WriteHeader(f.status)
			io.WriteString(w, body)
			w.(http.Flusher).Flush()
			w.Header().Set("X-ATH-Decision-ID", "dec_1")
		})
	}
	s.Gallery.Serve("/v1/pictures/redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, s.Public+"/ath/proxy/gallery/pictures/7", http.StatusTemporaryRedirect)
	})
	for _, agent := range agents {
		for name, status := range map[string]int{"link": 401, "next": 403, "ended": 401, "redirect": 307} {
			t.Run(agent.name+": "+name, func(t *testing.T) {
				s.Gallery.Forget()
				lines := walk(t, s, agent, []string{s.Public, "--provider", stage.Provider, "--scope", "pictures:read", "--call", "GET /pictures/" + name,
					"--more", "--stay", "--port", freePort(t), "--state", filepath.Join(t.TempDir(), "state.json")})
				said := strings.Join(lines, "\n")
				if !strings.Contains(said, fmt.Sprintf("5. Call: GET /pictures/%s -> %d", name, status)) || strings.Contains(said, "let the same user open") || strings.Contains(said, "wants more") {
					t.Errorf("it said\n%s", said)
				}
				if s.Gallery.Hits() != 1 {
					t.Errorf("the API was asked %d times", s.Gallery.Hits())
				}
			})
		}
	}
}

// A server that lets an API say X-ATH-Decision-ID: a link is followed on the
// origin that discovery names all the same, and a next for the own provider.
func TestAgentsOfOtherLanguagesFollowNoLinkElsewhere(t *testing.T) {
	for _, agent := range languages(t) {
		for name, refusal := range map[string]string{
			"elsewhere":       fmt.Sprintf(faked["link"].body, evil),
			"a longer name":   fmt.Sprintf(faked["link"].body, "%s.evil.example/ath/heal/x"),
			"a user name":     fmt.Sprintf(faked["link"].body, "%s@evil.example/"),
			"another scheme":  fmt.Sprintf(faked["link"].body, "javascript:alert(1)"),
			"no text":         strings.Replace(faked["link"].body, `"%s"`, `{"a":1}`, 1),
			"another's next":  strings.Replace(faked["next"].body, "gallery", "bank", 1),
			"no list in next": strings.Replace(faked["next"].body, `["pictures:write"]`, `"pictures:write"`, 1),
		} {
			t.Run(agent.name+": "+name, func(t *testing.T) {
				var calls atomic.Int32
				server := standIn(t, func(w http.ResponseWriter, r *http.Request) {
					calls.Add(1)
					w.Header().Set("X-ATH-Decision-ID", "dec_1")
					w.WriteHeader(http.StatusForbidden)
					io.WriteString(w, strings.ReplaceAll(refusal, "%s", "http://"+r.Host))
				})
				run := agent.start(t, server.URL, "--provider", "gallery", "--scope", "pictures:read", "--call", "GET /pictures/7",
					"--more", "--stay", "--port", freePort(t), "--state", filepath.Join(t.TempDir(), "state.json"))
				run.until("and paste the code")
				fmt.Fprintln(run.input, "ath_code_1")
				lines, stderr, err := run.end()
				said := strings.Join(lines, "\n") + stderr
				if err == nil || calls.Load() != 1 || !strings.Contains(stderr, "refused: ") || strings.Contains(said, "let the same user open") || strings.Contains(said, "wants more") || strings.Contains(said, "Traceback") {
					t.Errorf("%v after %d calls:\n%s", err, calls.Load(), said)
				}
				if isLink := strings.Contains(refusal, "authorization_url"); isLink && (!strings.Contains(stderr, "is not opened") || strings.Contains(said, "evil.example")) {
					t.Errorf("it says of the link\n%s", said)
				}
			})
		}
	}
}

// standIn answers like a server that gives everything; calls go to api.
func standIn(t *testing.T, api http.HandlerFunc) *httptest.Server {
	t.Helper()
	var agentID atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/ath.json":
			fmt.Fprintf(w, `{"gateway_id":%q,"supported_providers":[{"provider_id":"gallery","available_scopes":["pictures:read"]}]}`, "http://"+r.Host)
		case "/ath/agents/register":
			text, _ := io.ReadAll(r.Body)
			agentID.Store(regexp.MustCompile(`"agent_id": ?"([^"]+)"`).FindStringSubmatch(string(text))[1])
			io.WriteString(w, `{"client_id":"ath_1","client_secret":"ath_secret_1","agent_status":"approved","approved_providers":[{"provider_id":"gallery","approved_scopes":["pictures:read"]}]}`)
		case "/ath/authorize":
			fmt.Fprintf(w, `{"authorization_url":"%s/go","ath_session_id":"ath_sess_1"}`, "http://"+r.Host)
		case "/ath/token":
			fmt.Fprintf(w, `{"access_token":"ath_tk_1","expires_in":3600,"effective_scopes":["pictures:read"],"agent_id":%q,"refresh_token":"ath_rt_1"}`, agentID.Load())
		default:
			api(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

// A call outside the scopes asks the user for more, and goes through: the new
// token has the scope, the old one is dead.
// proves: P-11
func TestAgentsOfOtherLanguagesAskForMore(t *testing.T) {
	agents := languages(t)
	s := stage.Start(t, stage.Options{})
	for _, agent := range agents {
		for _, m := range []mode{
			{"gateway", []string{"--mode", "gateway", "--provider", stage.Provider}, "", "pictures:read", "GET /pictures/7", "POST /pictures", "pictures:read pictures:write", s.Gallery},
			{"native", []string{"--mode", "native"}, "", "products:read", "GET /api/products", "GET /api/orders", "products:read orders:read", s.App},
		} {
			t.Run(agent.name+" in "+m.name+" mode", func(t *testing.T) {
				m.api.Forget()
				state := filepath.Join(t.TempDir(), "state.json")
				args := append([]string{s.Public, "--scope", m.scope, "--call", m.call, "--outside", m.outside, "--more", "--stay",
					"--port", freePort(t), "--state", state}, m.args...)
				r := agent.start(t, args...)
				for range 2 {
					lines := r.until("and paste the code")
					b := browser.New()
					page := s.Consent(b, strings.TrimSpace(lines[len(lines)-2]))
					b.Close()
					fmt.Fprintln(r.input, athCode.FindString(page.Body))
				}
				lines, stderr, err := r.end()
				said := strings.Join(lines, "\n")
				lacks := strings.Fields(m.line)[1]
				if err != nil || stderr != "" || !strings.Contains(said, "\n   the call wants more: "+lacks+"; let the user open\n") ||
					!strings.Contains(said, "\n6. Call outside the scopes: "+m.outside+" -> 200, with a token for "+m.line) {
					t.Fatalf("it ended with %v:\n%s\n%s", err, said, stderr)
				}
				if m.api.Hits() != 2 {
					t.Errorf("the API was asked %d times", m.api.Hits())
				}
				text, err := os.ReadFile(state)
				if held := regexp.MustCompile(`ath_tk_[\w-]+`).FindAllString(string(text), -1); err != nil || len(slices.Compact(held)) != 1 {
					t.Errorf("it keeps %d tokens, %v", len(held), err)
				}

				// The next run goes on with that token, and nobody is asked.
				again, stderr, err := agent.start(t, args...).end()
				said = strings.Join(again, "\n")
				if err != nil || stderr != "" || !strings.Contains(said, "the user's consent of before lasts") || !strings.Contains(said, "6. Call outside the scopes: "+m.outside+" -> 200") {
					t.Errorf("the second run ended with %v:\n%s\n%s", err, said, stderr)
				}
			})
		}
	}
}

// An agent that stays goes on when its token has ended, in another process and
// without the user, and gives its consent back in the end.
// proves: T-8
func TestAgentsOfOtherLanguagesRenew(t *testing.T) {
	agents := languages(t)
	s := stage.Start(t, stage.Options{TokenTTL: "2s", Renewal: "{max: 90d, idle: 30d}"})
	for _, agent := range agents {
		t.Run(agent.name, func(t *testing.T) {
			state := filepath.Join(t.TempDir(), "state.json")
			args := []string{s.Public, "--mode", "native", "--scope", "products:read", "--call", "GET /api/products", "--port", freePort(t), "--state", state}
			lines := walk(t, s, agent, append(args, "--stay"))
			if said := strings.Join(lines, "\n"); !strings.Contains(said, ", and renewed without the user") || !strings.Contains(said, "5. Call: GET /api/products -> 200") {
				t.Errorf("it said\n%s", said)
			}
			first := tokensIn(t, state)
			time.Sleep(2500 * time.Millisecond) // the token ends
			again, stderr, err := agent.start(t, append(args, "--stay")...).end()
			if said := strings.Join(again, "\n"); err != nil || stderr != "" || !strings.Contains(said, "the user's consent of before lasts") || !strings.Contains(said, "5. Call: GET /api/products -> 200") {
				t.Fatalf("the second run ended with %v:\n%s\n%s", err, said, stderr)
			}
			if second := tokensIn(t, state); second[0] == first[0] || second[1] != first[1] {
				t.Error("the token is the same, or the renewal is not")
			}
			last, stderr, err := agent.start(t, args...).end()
			if said := strings.Join(last, "\n"); err != nil || stderr != "" || !strings.Contains(said, "7. Revoke: done\n8. Call with the revoked token: GET /api/products -> 401 TOKEN_REVOKED") {
				t.Errorf("the last run ended with %v:\n%s\n%s", err, said, stderr)
			}
			if info, err := os.Stat(state); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the file with the renewal: %v, %v", info.Mode(), err)
			}
		})
	}
}

// tokensIn reads a token and its renewal.
func tokensIn(t *testing.T, state string) [2]string {
	t.Helper()
	text, err := os.ReadFile(state)
	access, renewal := regexp.MustCompile(`ath_tk_[\w-]+`).FindString(string(text)), regexp.MustCompile(`ath_rt_[\w-]+`).FindString(string(text))
	if err != nil || access == "" || renewal == "" {
		t.Fatalf("no token and renewal are kept: %v", err)
	}
	return [2]string{access, renewal}
}

// The provider ends what the user had allowed: the agent shows the same user a
// link, waits, and goes on with the token that it has.
// proves: P-10
func TestAgentsOfOtherLanguagesWaitForTheUserWhoHeals(t *testing.T) {
	agents := languages(t)
	s := stage.Start(t, stage.Options{AccessTTL: 2 * time.Second, Refreshable: true, ConsentHost: "localhost"})
	for _, agent := range agents {
		for mode, args := range map[string][]string{
			"native":  {"--mode", "native", "--scope", "products:read", "--call", "GET /api/products"},
			"gateway": {"--provider", stage.Provider, "--scope", "pictures:read", "--call", "GET /pictures/7"},
		} {
			t.Run(agent.name+" in "+mode+" mode", func(t *testing.T) {
				state := filepath.Join(t.TempDir(), "state.json")
				args := append([]string{s.Public, "--stay", "--port", freePort(t), "--state", state}, args...)
				walk(t, s, agent, args)
				token := regexp.MustCompile(`ath_tk_[\w-]+`)
				before, _ := os.ReadFile(state)
				s.EndGrants()
				time.Sleep(2500 * time.Millisecond) // the user's access token ends
				r := agent.start(t, args...)
				r.until("let the same user open")
				lines := r.until("   http")
				s.Heal(strings.TrimSpace(lines[len(lines)-1]))
				lines, stderr, err := r.end()
				if said := strings.Join(lines, "\n"); err != nil || stderr != "" || strings.Count(said, "let the same user open") != 1 || !strings.Contains(said, "\n5. Call: "+args[len(args)-1]+" -> 200") {
					t.Errorf("it ended with %v:\n%s\n%s", err, said, stderr)
				}
				if after, err := os.ReadFile(state); err != nil || token.FindString(string(after)) != token.FindString(string(before)) {
					t.Errorf("it goes on with another token: %v", err)
				}
			})
		}
	}
}
