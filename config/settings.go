package config

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"time"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/athflow"
	"github.com/athd/athd/attest"
	"github.com/athd/athd/egress"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/ratelimit"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/watch"
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
	// KeysetFile is where Store.Keyset was read, and may be read again: see
	// ReadKeyset. "": it is in the configuration itself, by a variable of the
	// environment, or there is none.
	KeysetFile string

	Providers     *provider.Set
	ProvidersFile string // where those of a file are, "": there is none
	StrictScopes  bool
	AdminTokens   []httpapi.AdminToken
	// AdminTokenFile holds the first of AdminTokens that may do everything, for
	// commands that ask a running athd as its operator; "": there is none.
	AdminTokenFile string
	// AdminPrivate: operators are served on the admin listener alone.
	AdminPrivate        bool
	Policy              approval.Policy
	Pinned              []attest.Pinned
	TokenTTL            time.Duration
	SessionTTL          time.Duration
	Renewal             ath.RenewalTerms // tokens.renewal; that of a provider is its own
	Operator            athflow.Operator
	Consent             string
	CallbackPerProvider bool // each OAuth server has a redirect URI of its own
	Limits              httpapi.Limits
	CallsPerGrant       ratelimit.Rate // to APIs, at this athd; ratelimit.Unlimited where none is given
	Connections         int            // of the companion
	Streams             watch.Limits
	DrainDelay          time.Duration

	Envoy EnvoySettings
	// Egress says where run-time providers may be: their APIs for Envoy, their
	// OAuth servers for athd.
	Egress      egress.Policy
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
	// RuntimeProviders: the route for providers that come while athd runs is part
	// of the generated configuration, and the operator's API takes such providers.
	RuntimeProviders bool
	// ByExtProc: ext_proc judges requests, in the place of ext_authz.
	ByExtProc bool
	// WatchesStreams: athd hears of long exchanges until they are over, and ends
	// those whose token ends. KeepsStreams: what athd does not hear of any more, since
	// it goes, has died or asks Redis in vain, goes on until its token expires.
	WatchesStreams, KeepsStreams bool
	// ChecksReplies: athd hears of the heads of what APIs reply to agents.
	ChecksReplies bool
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
