package exchange

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/envoy"
)

// An Answer is what Envoy is told about a request. The zero answer refuses.
type Answer struct {
	Allow bool

	// Of a refusal. Without a status it is 500.
	Reason string
	Status int // of HTTP
	Body   string

	RestIn string // the header that gets Rest; "": none
	Rest   int64  // milliseconds

	Sets     [][2]string // headers by name and value: of the request or, refusing, of the response
	Removes  []string    // headers of the request, if it is allowed
	Blanks   []string    // headers of the API's reply that the agent must not get
	Metadata []Metadatum
}

// AllSets are Sets, and the header that gets the rest.
func (a *Answer) AllSets() [][2]string {
	if a.RestIn == "" {
		return a.Sets
	}
	return append(a.Sets, [2]string{a.RestIn, strconv.FormatInt(a.Rest, 10)})
}

// A Metadatum is an entry of the dynamic metadata: a text, or true.
type Metadatum struct {
	Key, Text string
	Yes       bool
}

// Answer is the only place that builds an allow. Whatever is odd about one
// refuses, and the error says why.
func (q Question) Answer(d authz.Decision) (Answer, error) {
	if !d.Allowed() {
		return q.Refuse(d), nil
	}
	if err := q.targeted(&d); err != nil {
		return q.Refuse(authz.Decision{ID: d.ID}), err
	}
	if d.ForCompanion() {
		return q.toCompanion(d)
	}
	authorization := d.Authorization().Reveal()
	switch {
	case d.Provider == "" || q.Provider != "" && q.Provider != d.Provider:
		return q.Refuse(authz.Decision{ID: d.ID}), errors.New("the decision is for another provider than the route's")
	case !d.PassesThrough() && (authorization == "" || !ath.IsPrintable(authorization)):
		return q.Refuse(authz.Decision{ID: d.ID}), errors.New("the credential holds bytes that no header may hold")
	}
	a := Answer{Allow: true, Removes: q.Removes, Blanks: q.blanks(!d.PassesThrough()), Metadata: metadata(&d)}
	if d.PassesThrough() {
		switch cookie, ours := foreignCookies(q.Cookies); {
		case ours && cookie == "":
			a.Removes = slices.Insert(q.Removes, 0, envoy.HeaderCookie)
		case ours:
			a.set(envoy.HeaderCookie, cookie)
		}
	} else {
		a.set(envoy.HeaderAuthorization, authorization)
		// An agent has no business with cookies; a browser's cookies that it
		// got hold of must not count.
		a.Removes = append(slices.Insert(q.Removes, 0, envoy.HeaderCookie), q.Overrides...)
		if q.Stream != "" {
			// What is set and removed is gone: a client's own must not take
			// the limit away.
			a.Removes = slices.DeleteFunc(a.Removes, func(name string) bool { return name == q.Stream })
			a.RestIn, a.Rest = q.Stream, max(1, d.Rest.Milliseconds())
		}
	}
	a.Metadata = append(a.Metadata, Metadatum{Key: envoy.MetaAllow, Yes: true}, Metadatum{Key: envoy.MetaScope, Text: d.Scope})
	if q.Runtime {
		a.send(d.Target())
	}
	if d.Retries() {
		a.retries(d.Held().Text())
	}
	return a, nil
}

// hold says what the call holds, and reports false where an agent's is allowed and that
// cannot be said. It may be there already.
func (a *Answer) hold(d *authz.Decision) bool {
	if !a.Allow || d.PassesThrough() || slices.ContainsFunc(a.Metadata, func(m Metadatum) bool { return m.Key == envoy.MetaHeld }) {
		return true
	}
	text := d.Held().Text()
	a.Metadata = append(a.Metadata, Metadatum{Key: envoy.MetaHeld, Text: text})
	return text != ""
}

// retries says what the filters in front of the API must know of the call. One whose
// text cannot be written is as one of a provider without them.
func (a *Answer) retries(held string) {
	if held != "" {
		a.Metadata = append(a.Metadata, Metadatum{Key: envoy.MetaHeld, Text: held}, Metadatum{Key: envoy.MetaRetry, Yes: true})
	}
}

// blanks are the headers that an API's reply does not keep (P-9): towards an
// agent those that set cookies; and where another than athd bootstrap writes
// Envoy's configuration, as a mesh, that by which clients tell athd's replies.
// The generated one removes all x-ath-* of an API's reply at its cluster; but
// Envoy's own replies, which say it there, take this way.
func (q Question) blanks(agent bool) []string {
	from, to := 1, 1
	if agent {
		from = 0
	}
	if q.Stream != envoy.HeaderStream {
		to = 2
	}
	return blankable[from:to:to]
}

var blankable = []string{envoy.HeaderSetCookie, envoy.HeaderDecisionID}

// toCompanion lets a request of the handshake go on as it came: its cookies and
// X-ATH headers are athd's own to read. No route that leads to an API takes
// this answer, since it names no provider for the guard.
func (q Question) toCompanion(d authz.Decision) (Answer, error) {
	if q.Provider != "" || q.Mount != "" || d.Provider != "" {
		return q.Refuse(authz.Decision{ID: d.ID}), errors.New("the decision is for athd itself, and the route leads to a provider")
	}
	return Answer{Allow: true, Metadata: append(metadata(&d), Metadatum{Key: envoy.MetaAllow, Yes: true})}, nil
}

// Refuse answers with the decision's own refusal. It is always a
// denied_response: Envoy lets an error_response through where
// failure_mode_allow is set.
func (q Question) Refuse(d authz.Decision) Answer {
	if d.ID == "" || d.Allowed() {
		// A zero decision, or a caller's mistake.
		d = authz.Decision{ID: d.ID}
		if d.ID == "" {
			d.ID = knownID(q.ID)
		}
	}
	e := d.Refusal()
	a := Answer{Reason: string(d.Reason()), Status: e.Status(), Body: string(e.Body()), Metadata: metadata(&d)}
	if _, known := typev3.StatusCode_name[int32(a.Status)]; !known {
		a.Status = http.StatusInternalServerError
	}
	// The content type also keeps Envoy from rewriting the reply: see the
	// first mapper of its local replies.
	a.set("content-type", "application/json")
	a.set("cache-control", "no-store")
	a.set(envoy.HeaderDecisionID, d.ID) // P-9
	switch a.Status {
	case http.StatusUnauthorized:
		a.set("www-authenticate", challenge(d.Reason()))
	case http.StatusForbidden:
		if r := d.Reason(); r == authz.ScopeMissing || r == authz.ScopeDenied || r == authz.UpgradeNotAllowed {
			a.set("www-authenticate", scopeChallenge(d.Missing()))
		}
	case http.StatusTooManyRequests:
		a.set("retry-after", strconv.Itoa(ath.RetrySeconds(d.RetryAfter)))
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

func metadata(d *authz.Decision) []Metadatum {
	return append(make([]Metadatum, 0, 6),
		Metadatum{Key: envoy.MetaDecision, Text: d.ID},
		Metadatum{Key: envoy.MetaReason, Text: string(d.Reason())},
		Metadatum{Key: envoy.MetaAgent, Text: d.Agent},
		Metadatum{Key: envoy.MetaProvider, Text: d.Provider},
	)
}

func (a *Answer) set(name, value string) {
	a.Sets = append(a.Sets, [2]string{name, value})
}
