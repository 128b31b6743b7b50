package agentcli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/client"
	"github.com/athd/athd/test/harness/identity"
)

// newState returns a state with something of everything.
func newState(t testing.TB) *savedState {
	t.Helper()
	a, private := identity.New(t, "https://agent.example/agent.json", "An agent")
	key, err := client.EncodeKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return &savedState{
		Version: stateVersion,
		Agent:   savedIdentity{ID: a.ID(), Name: a.Name, Developer: a.Developer, PrivateKey: api.OpenSecret(key)},
		Servers: map[string]*serverState{"https://gw.example": {
			ClientID: "ath_client", ClientSecret: api.NewSecret("ath_secret_hush"),
			Sessions: []openSession{{ID: api.NewSecret("ath_sess_hush"), State: api.NewSecret("state-hush"), Provider: "shop", API: "https://gw.example", Code: api.NewSecret("ath_code_hush"), Expires: time.Now().Add(time.Minute)}},
			Tokens:   map[string]heldToken{"shop": {Access: api.NewSecret("ath_tk_hush"), Scopes: []string{"read"}, API: "https://gw.example", Expires: time.Now().Add(time.Hour)}},
		}},
	}
}

func newStateFile(t testing.TB) *stateFile {
	t.Helper()
	f := &stateFile{path: filepath.Join(t.TempDir(), "state.json")}
	if err := f.create(newState(t), false); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestStateComesBackWhole(t *testing.T) {
	f := newStateFile(t)
	s, err := f.read()
	if err != nil {
		t.Fatal(err)
	}
	at := s.Servers["https://gw.example"]
	if !at.ClientSecret.Equal("ath_secret_hush") || !at.Tokens["shop"].Access.Equal("ath_tk_hush") || !at.Sessions[0].Code.Equal("ath_code_hush") {
		t.Error("a secret was lost on the way")
	}
	if _, err := s.Agent.load(); err != nil {
		t.Error(err)
	}
	info, err := os.Stat(f.path)
	if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(filepath.Dir(f.path)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestStateDoesNotPrintItsSecrets(t *testing.T) {
	s := newState(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, v := range []any{*s, *s.Servers["https://gw.example"], s.Servers["https://gw.example"].Tokens["shop"].Access} {
			if text := fmt.Sprintf(verb, v); strings.Contains(text, "hush") || strings.Contains(text, "PRIVATE KEY") {
				t.Errorf("%s prints a secret", verb)
			}
		}
	}
}

// A file that is not as it should be is reported, and left as it is.
func TestStateThatCannotBeUsed(t *testing.T) {
	good, err := json.Marshal(newState(t))
	if err != nil {
		t.Fatal(err)
	}
	change := func(old, new string) string {
		if !strings.Contains(string(good), old) {
			t.Fatalf("the state does not hold %q", old)
		}
		return strings.Replace(string(good), old, new, 1)
	}
	for _, c := range []struct {
		name, text, want string
		mode             os.FileMode
	}{
		{"lost", "", "athctl try keygen", 0},
		{"empty", "", "not a state", 0o600},
		{"somebody else's JSON", `{"name": "package", "version": "1.0.0"}`, "not a state", 0o600},
		{"not JSON", "hello", "not a state", 0o600},
		{"a later version", change(`"version":1`, `"version":2`), "version 2, and this athctl knows version 1", 0o600},
		{"an unknown field", change(`"agent":{`, `"agent":{"extra":1,`), `unknown field`, 0o600},
		{"a wrong type", change(`"client_secret":"ath_secret_hush"`, `"client_secret":7`), "not as athctl try writes it", 0o600},
		{"something behind it", string(good) + "{}", "cannot be used", 0o600},
		{"a key that is none", change("BEGIN PRIVATE KEY", "BEGIN SOMETHING"), "private key", 0o600},
		{"no agent id", change("https://agent.example/agent.json", ""), "agent_id is missing", 0o600},
		{"a server that is no server", change(`"https://gw.example":{`, `"https://gw.example/path":{`), "not the URL of a server", 0o600},
		{"a secret without its client", change(`"client_id":"ath_client",`, ""), "not whole", 0o600},
		{"a token for an API that is none", change(`"access_token":"ath_tk_hush","scopes":["read"],"api":"https://gw.example"`, `"access_token":"ath_tk_hush","scopes":["read"],"api":"file:///etc"`), "not whole", 0o600},
		{"too large", string(good) + strings.Repeat(" ", maxStateBytes), "larger than", 0o600},
		{"readable by the group", string(good), "can be read by others", 0o640},
		{"readable by all", string(good), "can be read by others", 0o604},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &stateFile{path: filepath.Join(t.TempDir(), "state.json")}
			if c.mode != 0 {
				if err := os.WriteFile(f.path, []byte(c.text), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(f.path, c.mode); err != nil {
					t.Fatal(err)
				}
			}
			_, err := f.read()
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error()+"\nnext: larger", "\nnext: ") || strings.Contains(err.Error(), "hush") {
				t.Errorf("err = %v", err)
			}
			if err := f.update(func(s *savedState) error { s.Agent.Name = "changed"; return nil }); err == nil {
				t.Error("it was changed all the same")
			}
			if c.mode == 0 {
				return
			}
			if err := f.create(newState(t), false); err == nil || !strings.Contains(err.Error(), "--force") {
				t.Errorf("keygen over it: %v", err)
			}
			if left, err := os.ReadFile(f.path); err != nil || string(left) != c.text {
				t.Errorf("it is not as it was: %v", err)
			}
		})
	}
}

func TestStateOfTwoAtOnce(t *testing.T) {
	f := newStateFile(t)
	var all sync.WaitGroup
	const writers = 8
	for i := range writers {
		all.Go(func() {
			err := f.update(func(s *savedState) error {
				s.Servers[fmt.Sprintf("https://gw%d.example", i)] = &serverState{}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	s, err := f.read()
	if err != nil || len(s.Servers) != writers+1 {
		t.Errorf("%d servers, %v", len(s.Servers), err)
	}
}

func TestSessionsEnd(t *testing.T) {
	now := time.Now()
	s := serverState{Sessions: []openSession{{ID: api.NewSecret("over"), Expires: now}, {ID: api.NewSecret("good"), Expires: now.Add(time.Second)}, {ID: api.NewSecret("other"), Expires: now.Add(time.Hour)}}}
	s.prune(now)
	s.drop(api.NewSecret("other"))
	if len(s.Sessions) != 1 || !s.Sessions[0].ID.Equal("good") {
		t.Errorf("%d sessions are left", len(s.Sessions))
	}
}

// Whatever stands in the file, decodeState does not panic, and what it accepts
// is what it would accept again.
func FuzzAgentState(f *testing.F) {
	good, err := json.Marshal(newState(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"version":1,"servers":{"https://x":null}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := decodeState(text)
		if err != nil {
			return
		}
		again, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeState(again); err != nil {
			t.Errorf("accepted once, then refused: %v", err)
		}
	})
}
