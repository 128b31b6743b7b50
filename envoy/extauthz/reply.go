package extauthz

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/codes"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/envoy"
)

// reply is the only place that builds an allow. Whatever is odd about one
// refuses, and the error says why.
func (q question) reply(d authz.Decision) (answer, error) {
	if !d.Allowed() {
		return q.refuse(d), nil
	}
	if d.ForCompanion() {
		return q.toCompanion(d)
	}
	authorization := d.Authorization().Reveal()
	switch {
	case d.Provider == "" || q.Provider != "" && q.Provider != d.Provider:
		return q.refuse(authz.Decision{ID: d.ID}), errors.New("the decision is for another provider than the route's")
	case !d.PassesThrough() && (authorization == "" || !ath.IsPrintable(authorization)):
		return q.refuse(authz.Decision{ID: d.ID}), errors.New("the credential holds bytes that no header may hold")
	}
	a := answer{allow: true, removes: q.removes, metadata: metadata(&d)}
	if d.PassesThrough() {
		switch cookie, ours := foreignCookies(q.Cookies); {
		case ours && cookie == "":
			a.removes = slices.Insert(q.removes, 0, envoy.HeaderCookie)
		case ours:
			a.set(envoy.HeaderCookie, cookie)
		}
	} else {
		a.set(envoy.HeaderAuthorization, authorization)
		// An agent has no business with cookies; a browser's cookies that it
		// got hold of must not count.
		a.removes = append(slices.Insert(q.removes, 0, envoy.HeaderCookie), q.overrides...)
		if q.stream != "" {
			// What is set and removed is gone: a client's own must not take
			// the limit away.
			a.removes = slices.DeleteFunc(a.removes, func(name string) bool { return name == q.stream })
			a.restIn, a.rest = q.stream, max(1, d.Rest.Milliseconds())
		}
	}
	a.metadata = append(a.metadata, metadatum{key: envoy.MetaAllow, yes: true}, metadatum{key: envoy.MetaScope, text: d.Scope})
	return a, nil
}

// toCompanion lets a request of the handshake go on as it came: its cookies and
// X-ATH headers are athd's own to read. No route that leads to an API takes
// this answer, since it names no provider for the guard.
func (q question) toCompanion(d authz.Decision) (answer, error) {
	if q.Provider != "" || q.Mount != "" || d.Provider != "" {
		return q.refuse(authz.Decision{ID: d.ID}), errors.New("the decision is for athd itself, and the route leads to a provider")
	}
	return answer{allow: true, metadata: append(metadata(&d), metadatum{key: envoy.MetaAllow, yes: true})}, nil
}

// refuse answers with the decision's own refusal. It is always a
// denied_response: Envoy lets an error_response through where
// failure_mode_allow is set.
func (q question) refuse(d authz.Decision) answer {
	if d.ID == "" || d.Allowed() {
		// A zero decision, or a caller's mistake.
		d = authz.Decision{ID: d.ID}
		if d.ID == "" {
			d.ID = knownID(q.ID)
		}
	}
	e := d.Refusal()
	a := answer{code: codes.PermissionDenied, reason: string(d.Reason()), status: e.Status(), body: string(e.Body()), metadata: metadata(&d)}
	if _, known := typev3.StatusCode_name[int32(a.status)]; !known {
		a.status = http.StatusInternalServerError
	}
	// The content type also keeps Envoy from rewriting the reply: see the
	// first mapper of its local replies.
	a.set("content-type", "application/json")
	a.set("cache-control", "no-store")
	a.set(envoy.HeaderDecisionID, d.ID) // P-9
	switch a.status {
	case http.StatusUnauthorized:
		a.code = codes.Unauthenticated
		a.set("www-authenticate", challenge(d.Reason()))
	case http.StatusForbidden:
		if r := d.Reason(); r == authz.ScopeMissing || r == authz.UpgradeNotAllowed {
			a.set("www-authenticate", scopeChallenge(d.Missing()))
		}
	case http.StatusServiceUnavailable:
		a.set("retry-after", "1")
	}
	return a
}

// knownID keeps the id under which a question was asked; a question that could
// not be read has none yet.
func knownID(id string) string {
	if id == "" {
		return ath.NewDecisionID()
	}
	return id
}

// challenge is the WWW-Authenticate header of RFC 6750, section 3: without an
// error code where no token was sent.
func challenge(r authz.Reason) string {
	if r == authz.TokenMissing {
		return `Bearer realm="ath"`
	}
	return `Bearer realm="ath", error="invalid_token"`
}

// scopeChallenge is that of a token whose scopes do not suffice (P-11; RFC 6750,
// section 3). Scopes hold neither quotes nor backslashes.
func scopeChallenge(missing ath.Scopes) string {
	const head = `Bearer realm="ath", error="insufficient_scope"`
	if len(missing) == 0 {
		return head
	}
	return head + `, scope="` + strings.Join(missing, " ") + `"`
}

func metadata(d *authz.Decision) []metadatum {
	return append(make([]metadatum, 0, 6),
		metadatum{key: envoy.MetaDecision, text: d.ID},
		metadatum{key: envoy.MetaReason, text: string(d.Reason())},
		metadatum{key: envoy.MetaAgent, text: d.Agent},
		metadatum{key: envoy.MetaProvider, text: d.Provider},
	)
}

func (a *answer) set(name, value string) {
	a.sets = append(a.sets, [2]string{name, value})
}
