package oauthserver

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A Client is an application that may ask for users' consent: athd, here.
type Client struct {
	ID           string
	Name         string // shown on the consent page; ID if empty
	Secret       string
	RedirectURIs []string // compared byte for byte
	Scopes       []string // what it may ask for
	// AuthMethod is how the client shows its secret: client_secret_post (the
	// default) or client_secret_basic. The other one is refused.
	AuthMethod string
	// AlwaysRefreshable clients get a refresh token also where they did not
	// ask for the scope offline_access.
	AlwaysRefreshable bool
	// OneGrantPerUser: a new consent of a user ends the client's older grant, as at
	// Cloudflare's workers-oauth-provider.
	OneGrantPerUser bool
}

// A User is somebody who can log in.
type User struct {
	ID       string // the sub of userinfo and ID tokens
	Name     string // typed at login, and the name of userinfo
	Password string
}

// An API asks the server whose a token is, and what it may do (RFC 7662).
type API struct{ ID, Secret string }

// Config is what a server needs to know.
type Config struct {
	// Issuer is the server's own URL, without a path. Listen first, to know
	// the port: for httptest.NewUnstartedServer it is "http://" and the
	// address of its Listener.
	Issuer  string
	Clients []Client
	Users   []User
	APIs    []API
	// File keeps grants and tokens over a restart, in plain text; "" keeps
	// them in memory only. Nobody else may write it.
	File string
	// AccessTokenTTL is how long an access token lives, in whole seconds; 1 h
	// if zero.
	AccessTokenTTL time.Duration
	// Resources are what the parameter resource (RFC 8707) may name. If empty,
	// the parameter is accepted and without effect.
	Resources []string
	// Clock tells [Server.Lookup] and userinfo the time, so that a test can let
	// access tokens expire; time.Now if nil. All else runs on real time.
	Clock  func() time.Time
	Habits Habits
}

func (c *Config) check() error {
	issuer, err := url.Parse(c.Issuer)
	switch {
	case err != nil || issuer.Host == "" || issuer.Scheme != "http" && issuer.Scheme != "https":
		return fmt.Errorf("oauthserver: issuer %q is not an http or https URL", c.Issuer)
	case issuer.Path != "" || issuer.RawQuery != "" || issuer.Fragment != "":
		return fmt.Errorf("oauthserver: issuer %q has more than scheme and host", c.Issuer)
	case c.AccessTokenTTL < 0 || c.AccessTokenTTL%time.Second != 0:
		return fmt.Errorf("oauthserver: access token lifetime %v is not in whole seconds", c.AccessTokenTTL)
	case len(c.Clients) == 0:
		return errors.New("oauthserver: no clients")
	}
	for _, client := range c.Clients {
		if err := client.check(); err != nil {
			return fmt.Errorf("oauthserver: client %q: %w", client.ID, err)
		}
	}
	for _, api := range c.APIs {
		if api.ID == "" || api.Secret == "" {
			return fmt.Errorf("oauthserver: API %q lacks an id or a secret", api.ID)
		}
	}
	for _, user := range c.Users {
		if user.ID == "" || user.Name == "" || user.Password == "" {
			return fmt.Errorf("oauthserver: user %q lacks an id, a name or a password", user.ID)
		}
	}
	return nil
}

func (c *Client) check() error {
	switch {
	case c.ID == "" || c.Secret == "":
		return errors.New("id or secret is empty")
	case len(c.RedirectURIs) == 0:
		return errors.New("no redirect URIs")
	case len(c.Scopes) == 0:
		return errors.New("no scopes")
	case slices.ContainsFunc(c.Scopes, func(s string) bool { return s == "" || strings.ContainsAny(s, " ,") }):
		return errors.New("a scope is empty or holds a space or a comma")
	case !slices.Contains([]string{"", methodPost, methodBasic}, c.AuthMethod):
		return fmt.Errorf("unknown authentication method %q", c.AuthMethod)
	}
	return nil
}

const (
	methodPost  = "client_secret_post"
	methodBasic = "client_secret_basic"
)
