package config

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"time"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/attest"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// Settings is what a faultless configuration says. Only Load makes one.
type Settings struct {
	PublicURL  string // without a trailing slash
	ConsentURL string // PublicURL where none is given

	GRPC, HTTP, Admin Address
	TLS               *ServerTLS // nil: plaintext

	StoreURL ath.Secret
	Store    tokenstore.Config // without the URL, which may hold a password
	Embedded bool

	Providers   *provider.Set
	AdminTokens []httpapi.AdminToken
	// AdminTokenFile holds the first of AdminTokens, for commands that ask a
	// running athd as its operator; "": there is none.
	AdminTokenFile string
	// AdminPrivate: operators are served on the admin listener alone.
	AdminPrivate        bool
	Policy              approval.Policy
	Pinned              []attest.Pinned
	TokenTTL            time.Duration
	SessionTTL          time.Duration
	Consent             string
	CallbackPerProvider bool // each OAuth server has a redirect URI of its own
	Limits              httpapi.Limits
	Connections         int // of the companion
	DrainDelay          time.Duration

	Envoy       EnvoySettings
	Log         LogSettings
	Audit       AuditSettings
	Runtime     RuntimeSettings
	Development Development

	// Warnings are what is allowed but should be known: told by validate, at
	// start and by /readyz.
	Warnings []string
}

// ServerTLS is who athd is and who may ask it, for grpc and http alike.
type ServerTLS struct {
	Certificate tls.Certificate
	ClientCAs   *x509.CertPool
	ClientSANs  []string
}

// Config demands of every client a certificate of the CA. Which names may ask
// is checked beside it, for gRPC and HTTP alike. It is nil where t is.
func (t *ServerTLS) Config() *tls.Config {
	if t == nil {
		return nil
	}
	return &tls.Config{
		Certificates: []tls.Certificate{t.Certificate},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    t.ClientCAs,
		MinVersion:   tls.VersionTLS12,
	}
}

// EnvoySettings is what Envoy's generated configuration says. Its files are
// Envoy's own to read: they need not exist here.
type EnvoySettings struct {
	Listen, Admin  string    // admin "": none
	GRPC, HTTP     []Address // one of each replica
	TLS            []CertificateFiles
	AthdTLS        *ClientTLSFiles
	CAFile         string
	TrustedHops    int
	AllowedOrigins []string // whose scripts may call
	Destination    string   // DestinationByRoute or DestinationByHostAndPath
}

// LogSettings are the form of the log and its least level.
type LogSettings struct {
	JSON  bool
	Level slog.Level
}

// AuditSettings say where events of their own go, if they have a place of
// their own.
type AuditSettings struct {
	File     string // "": the log
	Requests bool   // those of allowed requests too
	MaxSize  int64
	Keep     int
}
