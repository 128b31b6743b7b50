package days

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/test/harness/identity"
)

// An agent has one user's consent.
type agent struct {
	f      *fleet
	key    *ecdsa.PrivateKey
	c      *client.Client
	user   string
	token  client.Token
	access *client.Access
}

var athCode = regexp.MustCompile(`ath_code_[\w-]+`)

// agent registers one, and takes its user through the pages: the only time.
func (f *fleet) agent(name, user string) *agent {
	f.t.Helper()
	id, key := identity.New(f.t, f.sites+"/"+name+".json", name)
	f.site.Handle("/"+name+".json", id)
	c, err := client.New(client.Config{Server: f.public, Agent: id, InsecureHTTP: true})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(c.CloseIdleConnections)
	a := &agent{f: f, key: key, c: c, user: user}
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	if _, err := c.Register(ctx, client.Registration{Provider: "shop", Scopes: []string{f.oauth.Scope}, Purpose: "watches prices"}); err != nil {
		f.t.Fatal(err)
	}
	auth, err := c.Authorize(ctx, client.Consent{Provider: "shop", Scopes: []string{f.oauth.Scope}})
	if err != nil {
		f.t.Fatal(err)
	}
	b := browser.New() // of its own: at the OAuth server grants of one browser share their fate
	defer b.Close()
	page, err := b.Get(ctx, auth.URL)
	if err == nil {
		page, err = b.Submit(ctx, page.Form().Click("Allow"))
	}
	if err == nil {
		page, err = f.oauth.Allow(ctx, b, page, user)
	}
	if err != nil {
		f.t.Fatalf("the user's browser: %v\n%v", err, b.Steps())
	}
	code := athCode.FindString(page.Body)
	if code == "" {
		f.t.Fatalf("the last page (%d) shows no code: %s\n%v", page.Status, page.Text, b.Steps())
	}
	token, err := c.Exchange(ctx, auth, ath.NewSecret(code))
	if err != nil {
		f.t.Fatal(err)
	}
	if token.Renewal.IsZero() {
		f.t.Fatal("the user agreed to a standing consent, and no renewal came")
	}
	a.token = *token
	if a.access, err = c.Access(client.AccessConfig{API: f.api(), Token: *token}); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(a.access.CloseIdleConnections)
	return a
}

func (f *fleet) api() string { return f.public + ath.ProxyPath + "shop" }

// call makes a call, and lets the client renew where it has to.
func (a *agent) call() error {
	_, err := patiently(&http.Client{Transport: a.access, Timeout: 10 * time.Second}, a.f.api()+"/products")
	return err
}

// start starts a process of the agent. The result waits for its end, and says how it
// went.
func (a *agent) start(n int, began time.Time) (end func() account) {
	t, f := a.f.t, a.f
	t.Helper()
	key, err := client.EncodeKey(a.key)
	if err != nil {
		t.Fatal(err)
	}
	own := a.c.Credentials()
	text, err := json.Marshal(brief{
		Public: f.public, API: f.api(), ID: a.c.Agent().ID(), Key: key.Reveal(), ClientID: own.ClientID, Secret: own.Secret.Reveal(),
		Token: a.token.Access.Reveal(), Bought: a.token.Renewal.Reveal(), Began: began, Hour: f.scale.hour, Days: f.scale.days,
	})
	if err != nil {
		t.Fatal(err)
	}
	name := "process-" + strconv.Itoa(n) + ".json"
	f.Write(name, string(text), nil)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), processEnv+"="+filepath.Join(f.Dir, name))
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() (a account) {
		t.Helper()
		if err := cmd.Wait(); err != nil {
			t.Fatalf("process %d: %v\n%s", n, err, problems.String())
		}
		if err := json.Unmarshal(out.Bytes(), &a); err != nil {
			t.Fatalf("process %d says %q: %v", n, out.String(), err)
		}
		return a
	}
}

// subject is the user that an ID token names; "": it cannot be read.
func subject(idToken string) string {
	parts := strings.Split(idToken, ".")
	if len(parts) != 3 {
		return ""
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct{ Sub string }
	if err != nil || json.Unmarshal(text, &claims) != nil {
		return ""
	}
	return claims.Sub
}
