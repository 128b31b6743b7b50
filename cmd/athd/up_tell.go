package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/config/starter"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/probe"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// tellReady says what to open, and how to be an agent.
func (u *upRun) tellReady(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	since := time.Since(u.began).Seconds()
	if missing := probe.Gateway(ctx, u.s.PublicURL).Missing; missing == "" {
		u.done("ready: %s leads to athd, %.1f s after the start", u.s.PublicURL, since)
	} else {
		u.done("ready, %.1f s after the start: Envoy listens at %s", since, u.s.Envoy.Listen)
		u.line("note: seen from here, %s", missing)
	}
	all := u.s.Providers.All()
	p := all[0]
	if apps := u.s.Providers.Apps(); len(apps) > 0 {
		p = apps[0]
	}
	discovery, mount := ath.DiscoveryPath, ath.ProxyPath+p.ID
	if p.App != nil {
		discovery, mount = ath.AppDiscoveryPath, ""
	}
	at := example(p)
	u.line("")
	u.line("  %s  what agents and browsers see: Envoy", u.s.PublicURL)
	u.line("  %s%s  what there is for agents", u.s.PublicURL, discovery)
	u.line("  %s/readyz and /metrics of listen.admin, for you; %s", u.s.Admin.Dialable(), u.envoyAdmin())
	u.line("  %s, %s  what athd and Envoy write", u.path("athd.log"), u.path("envoy.log"))
	u.line("\nWithout an ATH token no API: 401 TOKEN_INVALID")
	u.line("  %scurl -i %s%s%s", u.trust("CURL_CA_BUNDLE"), u.s.PublicURL, mount, at)
	u.line("In another terminal be an agent, up to a first call (with a path of the API that its scopes open)")
	u.line("  %sathctl try run --server %s --serve 127.0.0.1:0 --provider %s --call 'GET %s' --await-approval", u.trust("SSL_CERT_FILE"), u.s.PublicURL, p.ID, at)
	u.line("An agent that waits for your approval is told here; all who wait")
	u.line("  %sathctl agents list --status pending %s", u.trust("SSL_CERT_FILE"), u.asOperator())
	u.line("\nCtrl-C ends both.")
}

// envoyAdmin says where Envoy's own pages are.
func (u *upRun) envoyAdmin() string {
	if u.s.Envoy.Admin == "" {
		return "Envoy has no admin pages"
	}
	return "Envoy's own at http://" + onThisMachine(u.s.Envoy.Admin)
}

// asOperator are the flags by which athctl is an operator here.
func (u *upRun) asOperator() string {
	token := "FILE (of admin.tokens)"
	path := filepath.Join(filepath.Dir(u.dir), starter.AdminTokenFile)
	if _, err := os.Stat(path); err == nil {
		token = cli.ShellWord(path, 4096)
	}
	server := u.s.PublicURL
	if u.s.AdminPrivate {
		server = "http://" + u.s.Admin.Dialable().String()
	}
	return "--server " + server + " --token-file " + token
}

// trust is what a command needs before it, by a variable of this name, where
// Envoy's certificate is of this machine's own making.
func (u *upRun) trust(variable string) string {
	if !u.here() || !strings.HasPrefix(u.s.PublicURL, "https:") || len(u.s.Envoy.TLS) == 0 {
		return ""
	}
	return variable + "=" + cli.ShellWord(u.s.Envoy.TLS[0].CertFile, 4096) + " "
}

// example is a path that a scope opens, as far as the rules tell.
func example(p *provider.Provider) string {
	for _, r := range p.Rules {
		if !slices.Contains(r.Methods, http.MethodGet) {
			continue
		}
		for _, path := range r.Paths {
			path = strings.TrimSuffix(path, "/**")
			path = strings.TrimPrefix(path, "/**")
			if path != "" && !strings.Contains(path, "*") {
				return path
			}
		}
	}
	return "/"
}

// noticePending has athd say on the terminal which agents wait for an
// operator, as they register.
func (u *upRun) noticePending(a *assembly) {
	n := &pendingNotice{run: u, store: a.store}
	next := a.companion
	a.companion = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != ath.RegisterPath {
			next.ServeHTTP(w, r)
			return
		}
		reply := &overheard{ResponseWriter: w}
		next.ServeHTTP(reply, r)
		n.hear(context.WithoutCancel(r.Context()), reply.text)
	})
}

// A pendingNotice counts whom it told of.
type pendingNotice struct {
	run   *upRun
	store *tokenstore.Store
	mu    sync.Mutex
	told  int
}

const (
	maxNotices    = 100 // then it says no more: whoever registers so often is no trial
	noticeTimeout = time.Second
	maxOverheard  = 64 << 10
)

// hear tells of the agent that a registration's reply is for, if it waits.
func (n *pendingNotice) hear(ctx context.Context, reply []byte) {
	var said struct {
		ClientID string `json:"client_id"`
	}
	if json.Unmarshal(reply, &said) != nil {
		return // a refusal, or too large
	}
	id, err := ath.ParseClientID(said.ClientID)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, noticeTimeout)
	defer cancel()
	agent, err := n.store.Agent(ctx, id.Tag())
	if err != nil {
		return // athd's log says what is with the store
	}
	var scopes []string
	for _, p := range agent.Value.Approvals {
		for _, s := range p.Pending {
			scopes = append(scopes, p.Provider+"/"+s)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(scopes) == 0 || n.told >= maxNotices {
		return
	}
	n.told++
	n.run.line("\n%s waits for your approval, for %s", cli.Printable(agent.Value.ID, 300), cli.Printable(strings.Join(scopes, " "), 500))
	n.run.line("  %sathctl agents approve %s %s", n.run.trust("SSL_CERT_FILE"), id, n.run.asOperator())
}

// overheard keeps what is written, as far as a reply of athd is long.
type overheard struct {
	http.ResponseWriter
	text []byte
}

// Unwrap is for [http.ResponseController].
func (o *overheard) Unwrap() http.ResponseWriter { return o.ResponseWriter }

// Write implements [http.ResponseWriter].
func (o *overheard) Write(p []byte) (int, error) {
	if len(o.text)+len(p) <= maxOverheard {
		o.text = append(o.text, p...)
	}
	return o.ResponseWriter.Write(p)
}
