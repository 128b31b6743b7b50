package authz

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
)

// passesThrough lets people call an app without an ATH token, where its operator
// configures that (unauthenticated: passthrough): a request that contains nothing
// like an ATH token is forwarded as it came. Gateway mode is for agents only.
//
// Where another app on the same host requires a token, the path must be canonical:
// else the next server could read it as a path of that app.
func (q *evaluation) passesThrough() Reason {
	p := q.provider
	if p == nil || p.App == nil || !p.App.Passthrough || q.request.Mount != "" {
		return ""
	}
	if q.request.Path == "" || q.holdsAnyToken() {
		return ""
	}
	if !q.exclusiveHosts[p.ID] && q.targetCanonical() != "" {
		return ""
	}
	return PassedThrough
}

// holdsAnyToken reports whether anything that Envoy sends with a check contains
// what looks like an ATH token.
func (q *evaluation) holdsAnyToken() bool {
	r := &q.request
	return r.StrayToken || holdsToken(r.Path) || holdsToken(r.Method) || holdsToken(r.Host) || slices.ContainsFunc(r.Cookies, holdsToken) ||
		slices.ContainsFunc(r.Authorization, func(value string) bool {
			return holdsToken(value) || holdsToken(basic(value))
		})
}

// basic returns the user and password of HTTP Basic (RFC 7617), where an agent may
// have put its token by mistake; "" if there is none.
func basic(value string) string {
	scheme, encoded, _ := strings.Cut(value, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return ""
	}
	encoded = strings.TrimRight(strings.TrimSpace(encoded), "=")
	for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		if plain, err := alphabet.DecodeString(encoded); err == nil {
			return string(plain)
		}
	}
	return ""
}

// appsWithOwnHosts returns the apps that share no host with one that is not open
// to people.
func appsWithOwnHosts(set *provider.Set) map[string]bool {
	own := map[string]bool{}
	apps := set.Apps()
	for _, app := range apps {
		own[app.ID] = !slices.ContainsFunc(apps, func(other *provider.Provider) bool {
			return !other.App.Passthrough && shareHost(app, other)
		})
	}
	return own
}

// shareHost: an app of any host is behind every host.
func shareHost(a, b *provider.Provider) bool {
	one, two := hostsOf(a), hostsOf(b)
	return one[0].IsZero() || two[0].IsZero() || slices.ContainsFunc(one, func(h ath.Host) bool { return slices.Contains(two, h) })
}
