package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/envoy"
	"github.com/athd/athd/internal/oauthserver"
	"github.com/athd/athd/internal/ports"
	"github.com/athd/athd/internal/process"
	"github.com/athd/athd/internal/ready"
	"github.com/athd/athd/internal/shop"
	"github.com/athd/athd/internal/transcript"
)

const (
	maxSocketPath = 100 // bytes; the kernel's limit is 108
	tailLines     = 20
)

// A stage is everything that runs: the OAuth server, the shop and the
// agent's site in this process, athd and Envoy as children.
type stage struct {
	addresses
	dir      string
	oauth    *oauthserver.Server
	shop     *shop.Shop
	agent    *client.Identity
	agentKey *ecdsa.PrivateKey
	rejected atomic.Pointer[string] // a user's token that the shop takes no more

	servers  []*http.Server
	children []*process.Process
	exits    chan *process.Process
	releases []func() // of the ports that are reserved for children
}

// newStage sets everything up and waits until it answers. After an error
// nothing is left behind.
func newStage(ctx context.Context, opt options, out *transcript.Transcript) (*stage, error) {
	envoyVersion, err := envoy.Version(ctx, opt.envoy)
	if err != nil {
		return nil, err
	}
	athdVersion, err := process.Output(ctx, opt.athd, "version")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "athdemo-")
	if err != nil {
		return nil, err
	}
	s := &stage{dir: dir, exits: make(chan *process.Process, 2)}
	for _, step := range []func(context.Context, options) error{s.serveParts, s.writeFiles, s.startChildren} {
		if err := step(ctx, opt); err != nil {
			return nil, errors.Join(err, s.lastWords(), s.close())
		}
	}
	out.Line("%s", strings.TrimSpace(string(athdVersion)))
	out.Line("Envoy %s", envoyVersion)
	out.Line("")
	out.Line("  Envoy         %s   what agents and browsers see", s.Public)
	out.Line("  athd          %s, its companion on %s", s.GRPC, s.HTTP)
	out.Line("  OAuth server  %s", s.OAuth)
	out.Line("  shop          %s   knows nothing of agents", s.Shop)
	out.Line("  agent         %s", s.agent.ID())
	return s, nil
}

// serveParts starts what runs in this process, and settles all addresses.
func (s *stage) serveParts(context.Context, options) error {
	oauthAt, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	shopAt, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, oauthAt.Close())
	}
	agentAt, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, oauthAt.Close(), shopAt.Close())
	}
	s.OAuth, s.Shop = "http://"+oauthAt.Addr().String(), "http://"+shopAt.Addr().String()
	s.Agents = "http://" + agentAt.Addr().String() + "/agents"
	if err := s.choosePorts(); err != nil {
		return errors.Join(err, oauthAt.Close(), shopAt.Close(), agentAt.Close())
	}
	if err := s.makeParts(); err != nil {
		return errors.Join(err, oauthAt.Close(), shopAt.Close(), agentAt.Close())
	}
	documents := http.NewServeMux()
	documents.Handle("GET /agents/shopper.json", s.agent)
	s.serve(oauthAt, s.oauth)
	s.serve(shopAt, s.shop)
	s.serve(agentAt, documents)
	return nil
}

func (s *stage) makeParts() error {
	secret := rand.Text()
	if err := s.write("client.secret", []byte(secret)); err != nil {
		return err
	}
	providers, err := s.providers(secret)
	if err != nil {
		return err
	}
	if err := s.write("providers.json", providers); err != nil {
		return err
	}
	s.oauth, err = oauthserver.New(oauthserver.Config{
		Issuer: s.OAuth,
		Clients: []oauthserver.Client{{
			ID: clientID, Name: "The Shop, for AI agents", Secret: secret,
			RedirectURIs:      []string{s.Public + ath.CallbackPath},
			Scopes:            []string{"products:read", "cart:write", "orders:read", "orders:write"},
			AlwaysRefreshable: true,
		}},
		Users: []oauthserver.User{{ID: userID, Name: userName, Password: userPassword}},
	})
	if err != nil {
		return err
	}
	s.shop = shop.New(s.lookup)
	if s.agentKey, err = client.NewKey(); err != nil {
		return err
	}
	s.agent, err = client.NewIdentity(s.Agents+"/shopper.json", "Shopping Assistant", s.agentKey)
	if err != nil {
		return err
	}
	s.agent.Developer = api.Developer{Name: "Demo Developers", ID: "demo-developers"}
	s.agent.Description = "Finds things in shops and puts them into the cart."
	return nil
}

// lookup is the shop's: it takes the OAuth server's tokens, but for one that it has
// stopped to take, which athd cannot know.
func (s *stage) lookup(token string) (user string, scopes []string, ok bool) {
	if rejected := s.rejected.Load(); rejected != nil && *rejected == token {
		return "", nil, false
	}
	return s.oauth.Lookup(token)
}

// choosePorts finds free ports for the children. Port 8080 is Envoy's if it
// is free: it is nicer to type.
func (s *stage) choosePorts() error {
	s.EnvoyListen = "127.0.0.1:8080"
	if !ports.Free(s.EnvoyListen) {
		if err := s.reserve(&s.EnvoyListen); err != nil {
			return err
		}
	}
	s.Public = "http://" + s.EnvoyListen
	s.Consent = strings.Replace(s.Public, "127.0.0.1", "localhost", 1)
	for _, address := range []*string{&s.EnvoyAdmin, &s.HTTP, &s.Admin} {
		if err := s.reserve(address); err != nil {
			return err
		}
	}
	s.GRPC = "unix:" + filepath.Join(s.dir, "authz.sock")
	if len(s.GRPC) > maxSocketPath {
		return s.reserve(&s.GRPC)
	}
	return nil
}

// reserve puts an address there whose port is held until the stage closes.
func (s *stage) reserve(address *string) error {
	reserved, release, err := ports.Reserve()
	if err != nil {
		return err
	}
	*address = reserved
	s.releases = append(s.releases, release)
	return nil
}

func (s *stage) serve(l net.Listener, h http.Handler) {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second}
	s.servers = append(s.servers, server)
	go server.Serve(l) // ends with Close, in close
}

func (s *stage) write(name string, content []byte) error {
	return os.WriteFile(s.path(name), content, 0o600)
}

func (s *stage) path(name string) string { return filepath.Join(s.dir, name) }

// writeFiles writes what athd and Envoy read: athd's configuration and keys
// by hand, Envoy's by athd.
func (s *stage) writeFiles(ctx context.Context, opt options) error {
	config, err := s.yaml()
	if err != nil {
		return err
	}
	if err := s.write("athd.yaml", config); err != nil {
		return err
	}
	if err := s.write("admin.token", []byte(rand.Text()+rand.Text())); err != nil {
		return err
	}
	if _, err := process.Output(ctx, opt.athd, "keys", "new", "-o", s.path("keyset.json")); err != nil {
		return err
	}
	bootstrap, err := process.Output(ctx, opt.athd, "bootstrap", "--config", s.path("athd.yaml"))
	if err != nil {
		return err
	}
	return s.write("envoy.yaml", bootstrap)
}

func (s *stage) startChildren(ctx context.Context, opt options) error {
	for _, c := range []process.Config{
		{Name: "athd", Program: opt.athd, Args: []string{"serve", "--config", s.path("athd.yaml")}, Log: s.path("athd.log")},
		{Name: "Envoy", Program: opt.envoy, Args: []string{"-c", s.path("envoy.yaml"), "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"}, Log: s.path("envoy.log")},
	} {
		c.OwnGroup, c.Exits = true, s.exits
		child, err := process.Start(c)
		if err != nil {
			return err
		}
		s.children = append(s.children, child)
	}
	if err := s.await(ctx, "athd", "http://"+s.Admin+"/readyz"); err != nil {
		return err
	}
	// Through Envoy to athd: so both, and what is between them, are ready.
	return s.await(ctx, "Envoy", s.Public+ath.DiscoveryPath)
}

// await looks until a URL answers 200.
func (s *stage) await(ctx context.Context, name, url string) error {
	missing, err := ready.Wait(ctx, func(ctx context.Context) (string, error) {
		select {
		case p := <-s.exits:
			return "", fmt.Errorf("%s ended: %w", p.Name, p.Err())
		default:
		}
		if err := ready.Answers(ctx, url, http.StatusOK); err != nil {
			return err.Error(), nil //nolint:nilerr // it is what is missing so far
		}
		return "", nil
	}, func(string) {})
	if missing != "" {
		return fmt.Errorf("%s is not ready: %s", name, missing)
	}
	return err
}

// lastWords are the ends of the children's logs, as an error that explains
// another one.
func (s *stage) lastWords() error {
	var words error
	for _, p := range s.children {
		words = errors.Join(words, fmt.Errorf("last lines of %s:\n%s", p.Log, transcript.Shorten(p.Tail(tailLines))))
	}
	return words
}

// close stops everything, in the order in which a request passes it, and
// removes the files.
func (s *stage) close() error {
	var err error
	for i := len(s.children) - 1; i >= 0; i-- {
		err = errors.Join(err, s.children[i].Stop())
	}
	for _, server := range s.servers {
		err = errors.Join(err, server.Close())
	}
	for _, release := range s.releases {
		release()
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}
