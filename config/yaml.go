package config

import (
	"go.yaml.in/yaml/v4"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
)

// A yamlConfig is athd.yaml as it is written: texts that nobody has looked at yet.
// docs/configuration.md tells every key; a test holds the two together.
type yamlConfig struct {
	PublicURL     string               `yaml:"public_url"`
	ConsentURL    string               `yaml:"consent_url"`
	Listen        listenFile           `yaml:"listen"`
	Store         storeFile            `yaml:"store"`
	ProvidersFile string               `yaml:"providers_file"`
	Apps          []provider.AppConfig `yaml:"apps"`
	StrictScopes  bool                 `yaml:"strict_scopes"`
	Operator      operatorFile         `yaml:"operator"`
	Admin         adminFile            `yaml:"admin"`
	Agents        []agentFile          `yaml:"agents"`
	Approval      approvalFile         `yaml:"approval"`
	Tokens        tokensFile           `yaml:"tokens"`
	Sessions      lifeFile             `yaml:"sessions"`
	Callback      string               `yaml:"callback"`
	Consent       string               `yaml:"consent"`
	Limits        limitsFile           `yaml:"limits"`
	Envoy         envoyFile            `yaml:"envoy"`
	Egress        egressFile           `yaml:"egress"`
	CORS          corsFile             `yaml:"cors"`
	DrainDelay    string               `yaml:"drain_delay"`
	Log           logFile              `yaml:"log"`
	Audit         auditFile            `yaml:"audit"`
	Runtime       runtimeFile          `yaml:"runtime"`
	Development   Development          `yaml:"development"`
}

type listenFile struct {
	GRPC         string  `yaml:"grpc"`
	HTTP         string  `yaml:"http"`
	Admin        string  `yaml:"admin"`
	TLS          tlsFile `yaml:"tls"`
	InsecureGRPC bool    `yaml:"insecure_grpc_without_client_auth"`
}

type tlsFile struct {
	CertFile     string   `yaml:"cert_file"`
	KeyFile      string   `yaml:"key_file"`
	ClientCAFile string   `yaml:"client_ca_file"`
	ClientSANs   []string `yaml:"client_sans"`
}

type storeFile struct {
	URL                  ath.SecretText `yaml:"url"` // may hold a password
	URLFile              string         `yaml:"url_file"`
	Keyset               ath.SecretText `yaml:"keyset"`
	KeysetFile           string         `yaml:"keyset_file"`
	CAFile               string         `yaml:"ca_file"`
	CertFile             string         `yaml:"cert_file"`
	KeyFile              string         `yaml:"key_file"`
	Timeout              string         `yaml:"timeout"`
	WaitReplicas         int            `yaml:"wait_replicas"`
	SentinelUser         string         `yaml:"sentinel_user"`
	SentinelPassword     ath.SecretText `yaml:"sentinel_password"`
	SentinelPasswordFile string         `yaml:"sentinel_password_file"`
}

type adminFile struct {
	Tokens []adminTokenFile `yaml:"tokens"`
	Public *bool            `yaml:"public"`
}

type adminTokenFile struct {
	Name      string `yaml:"name"`
	TokenFile string `yaml:"token_file"`
	Role      string `yaml:"role"`
	Expires   string `yaml:"expires"`
	SeesUsers *bool  `yaml:"sees_users"`
}

type agentFile struct {
	AgentID       string        `yaml:"agent_id"`
	PublicKeyFile string        `yaml:"public_key_file"`
	Name          string        `yaml:"name"`
	Developer     developerFile `yaml:"developer"`
}

type developerFile struct {
	Name string `yaml:"name"`
	ID   string `yaml:"id"`
}

type approvalFile struct {
	Default string     `yaml:"default"`
	Rules   []ruleFile `yaml:"rules"`
}

type ruleFile struct {
	Agents     []string `yaml:"agents"`
	Hosts      []string `yaml:"hosts"`
	Developers []string `yaml:"developers"`
	Providers  []string `yaml:"providers"`
	Scopes     []string `yaml:"scopes"`
	Action     string   `yaml:"action"`
	Expires    string   `yaml:"expires"`
}

type tokensFile struct {
	TTL           string                 `yaml:"ttl"`
	RememberEnded string                 `yaml:"remember_ended"`
	Renewal       provider.RenewalConfig `yaml:"renewal"`
}

type operatorFile struct {
	Name    string `yaml:"name"`
	Contact string `yaml:"contact"`
}

type lifeFile struct {
	TTL string `yaml:"ttl"`
}

type limitsFile struct {
	PerAddress           string   `yaml:"per_address"`
	Registrations        string   `yaml:"registrations_per_address"`
	PerAgent             string   `yaml:"per_agent"`
	CallsPerGrant        string   `yaml:"calls_per_grant"`
	Concurrent           *int     `yaml:"concurrent"`
	ConcurrentPerAddress *int     `yaml:"concurrent_per_address"`
	Connections          *int     `yaml:"connections"`
	Pending              *int     `yaml:"pending"`
	PendingPerDomain     *int     `yaml:"pending_per_domain"`
	PendingPerAddress    *int     `yaml:"pending_per_address"`
	SessionsPerAgent     *int     `yaml:"sessions_per_agent"`
	ProviderChanges      string   `yaml:"provider_changes"`
	RuntimeProviders     *int     `yaml:"runtime_providers"`
	EnvoyAddresses       []string `yaml:"envoy_addresses"`
	Streams              struct {
		PerGrant *int `yaml:"per_grant"`
		PerAgent *int `yaml:"per_agent"`
		Total    *int `yaml:"total"`
	} `yaml:"streams"`
}

type envoyFile struct {
	Listen   string               `yaml:"listen"`
	Admin    string               `yaml:"admin"`
	TLS      certificateFilesList `yaml:"tls"`
	AthdGRPC oneOrMore            `yaml:"athd_grpc"`
	AthdHTTP oneOrMore            `yaml:"athd_http"`
	AthdTLS  ClientTLSFiles       `yaml:"athd_tls"`
	CAFile   string               `yaml:"ca_file"`
	Hops     *int                 `yaml:"trusted_hops"`
	// Destination is how athd knows where a request goes.
	Destination string `yaml:"destination"`
	Runtime     *bool  `yaml:"runtime_providers"`
	Filter      string `yaml:"filter"`
	Streams     string `yaml:"streams"`
	OnLoss      string `yaml:"streams_on_loss"`
	Replies     string `yaml:"replies"`
}

type egressFile struct {
	Allow []egressEntry `yaml:"allow"`
}

// An egressEntry is an address, with a port or as a network, or a mapping.
type egressEntry struct {
	Addresses string `yaml:"addresses"`
	Port      *int   `yaml:"port"`
	HTTP      bool   `yaml:"http"`
}

// UnmarshalYAML takes both.
func (e *egressEntry) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
		*e = egressEntry{Addresses: n.Value}
		return nil
	}
	type mapping egressEntry
	return n.Load((*mapping)(e), yaml.WithKnownFields())
}

// certificateFilesList is one certificate, or a list of them.
type certificateFilesList []CertificateFiles

// UnmarshalYAML takes both.
func (l *certificateFilesList) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.MappingNode {
		*l = make(certificateFilesList, 1)
		return n.Load(&(*l)[0], yaml.WithKnownFields())
	}
	return n.Load((*[]CertificateFiles)(l), yaml.WithKnownFields())
}

// CertificateFiles are a certificate and its key, in PEM.
type CertificateFiles struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

// ClientTLSFiles are what Envoy shows to athd, and how it knows athd.
type ClientTLSFiles struct {
	CertFile   string `yaml:"cert_file"`
	KeyFile    string `yaml:"key_file"`
	CAFile     string `yaml:"ca_file"`
	ServerName string `yaml:"server_name"`
}

type corsFile struct {
	AllowedOrigins []string `yaml:"allowed_origins"`
}

type logFile struct {
	Format string `yaml:"format"`
	Level  string `yaml:"level"`
}

type auditFile struct {
	File     string `yaml:"file"`
	Requests bool   `yaml:"requests"`
	MaxSize  string `yaml:"max_size"`
	Keep     *int   `yaml:"keep"`
}

type runtimeFile struct {
	MaxProcs    *int   `yaml:"max_procs"`
	GCPercent   *int   `yaml:"gc_percent"`
	MemoryLimit string `yaml:"memory_limit"`
}

// Development are the options that each relax one rule, for trying things out.
type Development struct {
	SkipAttestation   bool `yaml:"skip_attestation_verification"`
	AcceptAnyCode     bool `yaml:"accept_any_code"`
	AllowHTTP         bool `yaml:"allow_http"`
	AllowPrivateHosts bool `yaml:"allow_private_hosts"`
}

// oneOrMore is one text, or a list of them.
type oneOrMore []string

// UnmarshalYAML takes both.
func (o *oneOrMore) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
		*o = oneOrMore{n.Value}
		return nil
	}
	return n.Load((*[]string)(o))
}
