package main

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/athflow"
	"github.com/athd/athd/attest"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// settings is what a faultless configuration says. Only load makes one.
type settings struct {
	publicURL  string // without a trailing slash
	consentURL string // publicURL where none is given

	grpc, http, admin address
	tls               *serverTLS // nil: plaintext

	storeURL ath.Secret
	store    tokenstore.Config // without the URL, which may hold a password
	embedded bool

	providers   *provider.Set
	adminTokens []athflow.AdminToken
	// adminPrivate: operators are served on the admin listener alone.
	adminPrivate bool
	policy       athflow.Policy
	pinned       []attest.Pinned
	tokenTTL     time.Duration
	sessionTTL   time.Duration
	consent      string
	perProvider  bool // each OAuth server has a redirect URI of its own
	limits       athflow.Limits
	connections  int // of the companion
	drainDelay   time.Duration

	envoy       envoySettings
	log         logSettings
	audit       auditSettings
	development developmentFile

	// warnings are what is allowed but should be known: told by validate, at
	// start and by /readyz.
	warnings []string
}

// serverTLS is who athd is and who may ask it, for grpc and http alike.
type serverTLS struct {
	certificate tls.Certificate
	clientCAs   *x509.CertPool
	clientSANs  []string
}

// envoySettings is what Envoy's generated configuration says. Its files are
// Envoy's own to read: they need not exist here.
type envoySettings struct {
	listen, admin string    // admin "": none
	grpc, http    []address // one of each replica
	tls           []envoyTLSFile
	athdTLS       *athdTLSFile
	caFile        string
	trustedHops   int
	origins       []string // whose scripts may call
	destination   string   // byRoute or byHostAndPath
}

type logSettings struct {
	json  bool
	level slog.Level
}
