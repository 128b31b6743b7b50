package config

import (
	"crypto/x509"
	"reflect"
	"slices"
	"strings"
)

// An Effect says when a change of a setting takes effect in an athd that runs.
type Effect int

// The effects. The zero Effect is the one that is never wrong.
const (
	AtRestart  Effect = iota // when athd starts the next time
	Live                     // at once
	ByEnvoy                  // when Envoy has a configuration that was generated again: athd does nothing else with it
	PerChange                // some changes at once, others at a restart: see [Next]
	ByItself                 // at once; it is followed by what owns it, and may be refused by that alone
	NeverOn                  // off at a restart, and on at a restart alone: a set that turns it on is refused as a whole
	WithEnvoy                // at a restart, and Envoy wants a configuration that was generated again
	OfNoEffect               // it follows from others, or only says what is allowed
)

// A setting is a field of [Settings], or of a struct in it, and when a change of
// it takes effect. Each field has one: a test says which one lacks it. What is added
// to Settings without a thought is taken at a restart.
type setting struct {
	field  string   // dotted; that of a struct is for all of its fields
	keys   []string // of athd.yaml, as docs/configuration.md writes them; one that ends with "." is for all below it
	effect Effect
	same   func(a, b *Settings) bool // nil: their values are deeply equal
}

var settings = []setting{
	{"PublicURL", []string{"public_url"}, WithEnvoy, nil},
	{"ConsentURL", []string{"consent_url"}, WithEnvoy, nil},
	{"GRPC", []string{"listen.grpc"}, AtRestart, nil},
	{"HTTP", []string{"listen.http"}, AtRestart, nil},
	{"Admin", []string{"listen.admin"}, AtRestart, nil},
	{"TLS", []string{"listen.tls."}, PerChange, sameServerTLS},
	{"", []string{"listen.insecure_grpc_without_client_auth"}, OfNoEffect, nil},

	{"StoreURL", []string{"store.url", "store.url_file"}, AtRestart, nil},
	{"Embedded", nil, OfNoEffect, nil}, // of store.url
	{"KeysetFile", []string{"store.keyset_file"}, AtRestart, nil},
	{"Store.Keyset", []string{"store.keyset"}, ByItself, nil},
	{"Store.CAs", []string{"store.ca_file"}, AtRestart, func(a, b *Settings) bool { return samePool(a.Store.CAs, b.Store.CAs) }},
	{"Store.Certificate", []string{"store.cert_file", "store.key_file"}, AtRestart, nil},
	{"Store.SentinelUser", []string{"store.sentinel_user"}, AtRestart, nil},
	{"Store.SentinelPassword", []string{"store.sentinel_password", "store.sentinel_password_file"}, AtRestart, nil},
	{"Store.WaitReplicas", []string{"store.wait_replicas"}, AtRestart, nil},
	{"Store.Timeout", []string{"store.timeout"}, AtRestart, nil},
	{"Store.RememberEnded", []string{"tokens.remember_ended"}, AtRestart, nil},
	// These are no settings.
	{"Store.URL", nil, OfNoEffect, nil},
	{"Store.Now", nil, OfNoEffect, nil},
	{"Store.Observe", nil, OfNoEffect, nil},
	{"Store.Upstream", nil, OfNoEffect, nil},
	{"Store.Unreadable", nil, OfNoEffect, nil},
	{"Store.Logger", nil, OfNoEffect, nil},

	{"Providers", []string{"providers_file", "strict_scopes", "apps[]."}, PerChange, nil},
	{"StrictScopes", nil, Live, nil},        // for run-time providers
	{"ProvidersFile", nil, OfNoEffect, nil}, // of providers_file
	{"AdminTokens", []string{"admin.tokens[]."}, Live, nil},
	{"AdminTokenFile", nil, OfNoEffect, nil}, // of the first of them
	{"AdminPrivate", []string{"admin.public"}, Live, nil},
	{"Policy", []string{"approval."}, Live, nil},
	{"Pinned", []string{"agents[]."}, Live, nil},
	{"TokenTTL", []string{"tokens.ttl"}, Live, nil},
	{"SessionTTL", []string{"sessions.ttl"}, Live, nil},
	{"Renewal", []string{"tokens.renewal."}, Live, nil},
	{"Operator", []string{"operator."}, Live, nil},
	{"Consent", []string{"consent"}, Live, nil},
	{"CallbackPerProvider", []string{"callback"}, AtRestart, nil},
	{"Limits", []string{
		"limits.per_address", "limits.registrations_per_address", "limits.per_agent", "limits.concurrent", "limits.concurrent_per_address",
		"limits.pending", "limits.pending_per_domain", "limits.pending_per_address", "limits.sessions_per_agent", "limits.provider_changes", "limits.runtime_providers", "limits.envoy_addresses",
	}, Live, nil},
	{"CallsPerGrant", []string{"limits.calls_per_grant"}, Live, nil},
	{"Streams", []string{"limits.streams."}, Live, nil},
	{"Connections", []string{"limits.connections"}, AtRestart, nil},
	{"DrainDelay", []string{"drain_delay"}, Live, nil},

	{"Envoy.Listen", []string{"envoy.listen"}, ByEnvoy, nil},
	{"Envoy.Admin", []string{"envoy.admin"}, ByEnvoy, nil},
	{"Envoy.GRPC", []string{"envoy.athd_grpc"}, ByEnvoy, nil},
	{"Envoy.HTTP", []string{"envoy.athd_http"}, ByEnvoy, nil},
	{"Envoy.TLS", []string{"envoy.tls[]."}, ByEnvoy, nil},
	{"Envoy.AthdTLS", []string{"envoy.athd_tls."}, ByEnvoy, nil},
	{"Envoy.CAFile", []string{"envoy.ca_file"}, ByEnvoy, nil},
	{"Envoy.AllowedOrigins", []string{"cors.allowed_origins"}, ByEnvoy, nil},
	{"Envoy.TrustedHops", []string{"envoy.trusted_hops"}, WithEnvoy, nil},
	{"Envoy.Destination", []string{"envoy.destination"}, WithEnvoy, nil},
	{"Envoy.RuntimeProviders", []string{"envoy.runtime_providers"}, WithEnvoy, nil},
	{"Envoy.ByExtProc", []string{"envoy.filter"}, WithEnvoy, nil},
	{"Envoy.WatchesStreams", []string{"envoy.streams"}, WithEnvoy, nil},
	{"Envoy.KeepsStreams", []string{"envoy.streams_on_loss"}, WithEnvoy, nil},
	{"Envoy.ChecksReplies", []string{"envoy.replies"}, WithEnvoy, nil},
	// What else is of it follows from other settings.
	{"Egress", []string{"egress.allow[]."}, WithEnvoy, func(a, b *Settings) bool { return slices.Equal(a.Egress.Allow, b.Egress.Allow) }},

	{"Log.JSON", []string{"log.format"}, AtRestart, nil},
	{"Log.Level", []string{"log.level"}, Live, nil},
	{"Audit", []string{"audit."}, AtRestart, nil},
	{"Runtime", []string{"runtime."}, AtRestart, nil},
	{"Development", []string{"development."}, NeverOn, nil},
	{"Warnings", nil, OfNoEffect, nil},
}

// name is what an operator is told of a setting.
func (s setting) name() string {
	if len(s.keys) == 1 {
		return strings.TrimSuffix(strings.TrimSuffix(s.keys[0], "."), "[]")
	}
	if group, _, found := strings.Cut(s.keys[0], "."); found && !slices.ContainsFunc(s.keys, func(k string) bool { return !strings.HasPrefix(k, group+".") }) && len(s.keys) > 2 {
		return group
	}
	return s.keys[0]
}

// value returns the field of the settings.
func (s setting) value(of *Settings) reflect.Value {
	v := reflect.ValueOf(of).Elem()
	for name := range strings.SplitSeq(s.field, ".") {
		v = v.FieldByName(name)
	}
	return v
}

func (s setting) unchanged(a, b *Settings) bool {
	if s.same != nil {
		return s.same(a, b)
	}
	return reflect.DeepEqual(s.value(a).Interface(), s.value(b).Interface())
}

// take gives the settings to what others say of this one.
func (s setting) take(to, from *Settings) { s.value(to).Set(s.value(from)) }

// EffectOf says when a change of a key of athd.yaml takes effect.
func EffectOf(key string) (_ Effect, known bool) {
	for _, s := range settings {
		for _, k := range s.keys {
			if k == key || strings.HasSuffix(k, ".") && strings.HasPrefix(key, k) {
				return s.effect, true
			}
		}
	}
	return AtRestart, false
}

func sameServerTLS(a, b *Settings) bool {
	x, y := a.TLS, b.TLS
	if x == nil || y == nil {
		return x == y
	}
	return samePool(x.ClientCAs, y.ClientCAs) && slices.Equal(x.ClientSANs, y.ClientSANs) &&
		slices.EqualFunc(x.Certificate.Certificate, y.Certificate.Certificate, slices.Equal) &&
		reflect.DeepEqual(x.Certificate.PrivateKey, y.Certificate.PrivateKey)
}

func samePool(a, b *x509.CertPool) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Equal(b)
}
