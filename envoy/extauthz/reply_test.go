package extauthz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/ratelimit"
	"github.com/athd/athd/test/harness/envoyconfig"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

// A way is one way in which a reply comes about.
type way struct {
	name   string
	world  func(*world)
	edit   func(*authv3.AttributeContext)
	reason authz.Reason
	status int
	code   ath.Code
}

// ways has every reason of authz at least once; TestEveryReason holds that.
var ways = []way{
	{"P-7: an unlisted method", nil, with(":method", "TRACE"), authz.MethodNotAllowed, 400, ath.InvalidRequest},
	{"P-7: a path that is not canonical", nil, with(":path", apiMount+"products/%2e"), authz.TargetNotCanonical, 400, ath.InvalidRequest},
	{"P-5: a token in the query", nil, with(":path", apiMount+"products/7?t=ath_tk_x"), authz.TokenInQuery, 400, ath.InvalidRequest},
	{"P-5: a renewal token in the query", nil, with(":path", apiMount+"products/7?t=ath_rt_x"), authz.TokenInQuery, 400, ath.InvalidRequest},
	{"P-5: a renewal token in a header", nil, with("x-api-key", "ath_rt_x"), authz.TokenInQuery, 400, ath.InvalidRequest},
	{"P-1: a renewal token as the token", nil, with("authorization", "Bearer "+ath.NewRenewalToken(ath.NewTag()).Secret().Reveal()), authz.TokenMalformed, 401, ath.TokenInvalid},
	{"P-1: no token", nil, with("authorization", ""), authz.TokenMissing, 401, ath.TokenInvalid},
	{"P-1: another scheme", nil, with("authorization", "Basic eDp5"), authz.TokenMissing, 401, ath.TokenInvalid},
	{"P-1: a malformed token", nil, with("authorization", "Bearer ath_tk_x"), authz.TokenMalformed, 401, ath.TokenInvalid},
	{"P-1: two tokens", nil, also("authorization", "Bearer x"), authz.TokenMalformed, 401, ath.TokenInvalid},
	{"the store is away", func(w *world) { w.err = errors.New("away") }, nil, authz.StoreUnavailable, 503, ath.InternalError},
	{"a record does not open", func(w *world) { w.err = tokenstore.ErrCorrupt }, nil, authz.RecordCorrupt, 500, ath.InternalError},
	{"P-1: an unknown token", func(w *world) { w.reading.Grant = nil }, nil, authz.TokenUnknown, 401, ath.TokenInvalid},
	{"P-1: a revoked token", func(w *world) { w.reading.Grant.Revoked = w.now }, nil, authz.TokenRevoked, 401, ath.TokenRevoked},
	{"P-1: an expired token", func(w *world) { w.reading.Grant.Expires = w.now }, nil, authz.TokenExpired, 401, ath.TokenExpired},
	{"P-2: no agent id", nil, with("x-ath-agent-id", ""), authz.AgentIDMissing, 403, ath.AgentIdentityMismatch},
	{"P-2: two agent ids", nil, also("x-ath-agent-id", agentID), authz.AgentIDMissing, 403, ath.AgentIdentityMismatch},
	{"P-2: another agent's id", nil, with("x-ath-agent-id", "https://other.example"), authz.AgentIDMismatch, 403, ath.AgentIdentityMismatch},
	{"the registration is gone", func(w *world) { w.reading.Agent = nil }, nil, authz.AgentUnknown, 403, ath.AgentUnapproved},
	{"R-6: a suspended agent", func(w *world) { w.reading.Agent.Suspended = true }, nil, authz.AgentNotApproved, 403, ath.AgentUnapproved},
	{"R-5: an approval that has ended", func(w *world) { w.reading.Agent.ApprovalExpires = w.now }, nil, authz.ApprovalExpired, 403, ath.AgentUnapproved},
	{"P-3: no such provider", nil, func(a *authv3.AttributeContext) { a.ContextExtensions[envoy.ExtProvider] = "none" }, authz.ProviderUnknown, 403, ath.ProviderMismatch},
	{"P-3: a route to no provider", nil, func(a *authv3.AttributeContext) { delete(a.ContextExtensions, envoy.ExtProvider) }, authz.ProviderUnknown, 403, ath.ProviderMismatch},
	{"P-3: another provider's token", func(w *world) { w.reading.Grant.Provider = "other" }, nil, authz.ProviderMismatch, 403, ath.ProviderMismatch},
	{"P-4: no scope covers it", nil, with(":method", "POST"), authz.ScopeMissing, 403, ath.ScopeNotApproved},
	{"P-4: a rule denies the scope by now", func(w *world) { w.policy = denying(w.t, agentID) }, nil, authz.ScopeDenied, 403, ath.ScopeNotApproved},
	{"P-4: a WebSocket that no rule allows", nil, with("upgrade", "websocket"), authz.UpgradeNotAllowed, 403, ath.ScopeNotApproved},
	{"P-6: the connection has ended", func(w *world) { w.reading.Connection.Ended = true }, nil, authz.ReauthorizationRequired, 401, ath.TokenInvalid},
	{"P-6: the user's token has ended, and is not refreshed yet", func(w *world) {
		w.reading.Connection.Expires, w.renewal = w.now, vault.ProviderAway
	}, nil, authz.ProviderUnavailable, 503, ath.OAuthError},
	{"P-6: the user's token has ended, and cannot be refreshed", func(w *world) { w.reading.Connection.Expires = w.now }, nil, authz.ReauthorizationRequired, 401, ath.TokenInvalid},
	{"P-12: a grant's calls are used up", func(w *world) { w.calls = ratelimit.Rate{N: 2, Per: time.Minute} }, nil, authz.RateLimited, 429, ath.RateLimited},
	{"a rule panics", func(w *world) { w.panics = "secret in a panic" }, nil, authz.InternalError, 500, ath.InternalError},
	{"P-5: a credential with a line break", func(w *world) { w.reading.Connection.Access = ath.NewSecret("x\r\nhost: evil") }, nil, authz.InternalError, 500, ath.InternalError},
	{"P-5: a credential that is not ASCII", func(w *world) { w.reading.Connection.Access = ath.NewSecret("x\xff") }, nil, authz.InternalError, 500, ath.InternalError},
	{"everything in order", nil, nil, authz.Allowed, 0, ""},
	{"a person at an app that is open", nil, byPerson(), authz.PassedThrough, 0, ""},
	{"P-5: a person's request with a token, in a target of which Envoy may have replaced a byte", nil,
		joinedPath("/?access_token=ath_tk_x&a=!", byPerson()), authz.TargetNotCanonical, 400, ath.InvalidRequest},
	{"a person's request, in a target of which Envoy may have replaced a byte", nil, joinedPath("/a!?b=!", byPerson()), authz.PassedThrough, 0, ""},
	{"P-5: a person's request that contradicts itself", nil, byPerson(":path", "/"), authz.TargetNotCanonical, 400, ath.InvalidRequest},
	{"P-5: a person's header that no reply can remove", nil, byPerson("x-ath-\u00e9", "1"), authz.TargetNotCanonical, 400, ath.InvalidRequest},
	{"P-7: a target of which Envoy may have replaced a byte", nil, joinedPath(apiMount+"products/7?b=!", func(*authv3.AttributeContext) {}), authz.TargetNotCanonical, 400, ath.InvalidRequest},
	{"the callback, of whose code Envoy may have replaced a byte", inMesh, joinedPath("/ath/callback?code=M.R3_BAY.!x&state=y", toAthd()), authz.Companion, 0, ""},
	{"P-7: the handshake, in a path of which Envoy may have replaced a byte", inMesh, joinedPath("/ath/agents/a!b", toAthd()), authz.TargetNotCanonical, 400, ath.InvalidRequest},
	{"the handshake, in a mesh", inMesh, toAthd(), authz.Companion, 0, ""},
	{"the handshake, with what is ours", inMesh, toAthd("cookie", "ath_consent_x=1", "x-ath-user-token", "u"), authz.Companion, 0, ""},
	{"the handshake, where routes tell", nil, toAthd(), authz.TokenMissing, 401, ath.TokenInvalid},
	{"P-5: the handshake, by a route that has a mount", inMesh, func(a *authv3.AttributeContext) {
		toAthd()(a)
		a.ContextExtensions = map[string]string{envoy.ExtMount: "/ath/"}
	}, authz.InternalError, 500, ath.InternalError},
}

func inMesh(w *world) { w.byHost = true }

func TestEveryReasonHasAReply(t *testing.T) {
	seen := map[authz.Reason]bool{}
	for _, tt := range ways {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			if tt.world != nil {
				tt.world(w)
			}
			request := w.ask()
			if tt.edit != nil {
				tt.edit(request.Attributes)
			}
			response := w.check(w.checks(), request)
			mustHold(t, w, response)
			reason := authz.Reason(response.DynamicMetadata.Fields[envoy.MetaReason].GetStringValue())
			if reason != tt.reason {
				t.Fatalf("reason %q, want %q", reason, tt.reason)
			}
			seen[reason] = true
			if tt.status == 0 {
				return
			}
			denied := response.GetDeniedResponse()
			if got := int(denied.GetStatus().GetCode()); got != tt.status {
				t.Errorf("status %d, want %d", got, tt.status)
			}
			if code := bodyOf(t, denied).Code; code != tt.code {
				t.Errorf("code %s, want %s", code, tt.code)
			}
		})
	}
	for _, reason := range authz.Reasons() {
		if !seen[reason] {
			t.Errorf("no reply was seen for reason %q", reason)
		}
	}
}

type refusalBody struct {
	Code    ath.Code
	Message string
	Details struct {
		DecisionID string `json:"decision_id"`
		Reason     string
		RetryAfter int `json:"retry_after_seconds"`
		Discovery  string
		Next       struct {
			Step       string
			ProviderID string `json:"provider_id"`
			Scopes     []string
		}
	}
}

func bodyOf(t *testing.T, denied *authv3.DeniedHttpResponse) refusalBody {
	t.Helper()
	var b refusalBody
	if err := json.Unmarshal([]byte(denied.GetBody()), &b); err != nil {
		t.Fatalf("the body is not JSON: %v: %s", err, denied.GetBody())
	}
	return b
}

// mustHold asserts what holds of every reply whatever it says.
func mustHold(t *testing.T, w *world, r *authv3.CheckResponse) {
	t.Helper()
	wire, err := proto.Marshal(r)
	if err != nil {
		t.Fatalf("the reply cannot be sent: %v", err)
	}
	if r.GetErrorResponse() != nil {
		t.Error("an error_response, which failure_mode_allow lets through")
	}
	id := r.GetDynamicMetadata().GetFields()[envoy.MetaDecision].GetStringValue()
	if !strings.HasPrefix(id, "dec_") {
		t.Errorf("decision_id is %q", id)
	}
	code := codes.Code(r.GetStatus().GetCode())
	if (r.GetStatus() != nil && code == codes.OK) != (r.GetOkResponse() != nil) || (code != codes.OK) != (r.GetDeniedResponse() != nil) {
		t.Fatalf("code %v with %T", code, r.GetHttpResponse())
	}
	switch {
	case code == codes.OK && r.DynamicMetadata.Fields[envoy.MetaReason].GetStringValue() == string(authz.PassedThrough):
		mustHoldOfPass(t, r, string(wire))
		return
	case code == codes.OK && r.DynamicMetadata.Fields[envoy.MetaReason].GetStringValue() == string(authz.Companion):
		mustHoldOfCompanion(t, r)
		return
	case code == codes.OK:
		mustHoldOfAllow(t, r)
		return
	}
	mustHoldOfRefusal(t, w, r, string(wire))
}

func mustHoldOfAllow(t *testing.T, r *authv3.CheckResponse) {
	t.Helper()
	meta := r.DynamicMetadata.AsMap()
	if meta[envoy.MetaAllow] != true || meta[envoy.MetaProvider] != apiProvider || meta[envoy.MetaAgent] != agentID || meta[envoy.MetaScope] != "products:read" {
		t.Errorf("metadata %v", meta)
	}
	ok := r.GetOkResponse()
	if len(ok.Headers) != 1 {
		t.Fatalf("headers %v, want authorization only", ok.Headers)
	}
	h := ok.Headers[0]
	if h.Header.Key != "authorization" || h.Header.Value != "Bearer "+userToken || len(h.Header.RawValue) != 0 ||
		h.Append == nil || h.Append.Value {
		t.Errorf("P-5: header %v", h)
	}
	for _, name := range []string{"cookie", "x-ath-agent-id"} {
		if !slices.Contains(ok.HeadersToRemove, name) {
			t.Errorf("P-5: %s is not removed", name)
		}
	}
	mustBlank(t, ok, "set-cookie", "x-ath-decision-id")
}

// mustBlank: of the API's reply an allow changes what these headers say, where
// they are there, and nothing else; nor does it change the query.
func mustBlank(t *testing.T, ok *authv3.OkHttpResponse, names ...string) {
	t.Helper()
	var got []string
	for _, h := range ok.ResponseHeadersToAdd {
		if h.Header.Value != "" || len(h.Header.RawValue) > 0 || h.Append != nil || h.AppendAction != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS {
			t.Errorf("P-9: of the reply it makes %v", h)
		}
		got = append(got, h.Header.Key)
	}
	if !slices.Equal(got, names) {
		t.Errorf("P-9: of the reply it changes %q, want %q", got, names)
	}
	if len(ok.QueryParametersToSet) != 0 || len(ok.QueryParametersToRemove) != 0 {
		t.Error("the allow changes the query")
	}
}

// proves: P-9
func TestWhatAnAPIsReplyDoesNotKeep(t *testing.T) {
	agent, person := func(*authv3.AttributeContext) {}, byPerson()
	for _, tt := range []struct {
		name, stream string
		who          func(*authv3.AttributeContext)
		want         []string
	}{
		{"an agent, by the generated configuration", envoy.HeaderStream, agent, []string{"set-cookie"}},
		{"an agent, elsewhere", "", agent, []string{"set-cookie", "x-ath-decision-id"}},
		{"an agent, behind Envoy Gateway", envoy.HeaderStreamEnvoy, agent, []string{"set-cookie", "x-ath-decision-id"}},
		{"a person, by the generated configuration", envoy.HeaderStream, person, nil},
		{"a person, elsewhere", "", person, []string{"x-ath-decision-id"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			r := w.check(w.checks(), w.ask(func(a *authv3.AttributeContext) {
				tt.who(a)
				if tt.stream != "" {
					a.ContextExtensions[envoy.ExtStream] = tt.stream
				}
			}))
			if r.GetOkResponse() == nil {
				t.Fatalf("refused: %v", r)
			}
			mustBlank(t, r.GetOkResponse(), tt.want...)
		})
	}
}

// mustHoldOfPass: nothing of a grant goes with a person's request, nor is the
// person's own credential touched.
func mustHoldOfPass(t *testing.T, r *authv3.CheckResponse, wire string) {
	t.Helper()
	if strings.Contains(wire, userToken) {
		t.Error("P-5: a person's request gets a user's token")
	}
	ok := r.GetOkResponse()
	for _, h := range ok.Headers {
		if h.Header.Key != envoy.HeaderCookie || h.Append == nil || h.Append.Value {
			t.Errorf("P-5: sets %v", h)
		}
	}
	if slices.Contains(ok.HeadersToRemove, envoy.HeaderAuthorization) || !slices.Contains(ok.HeadersToRemove, envoy.HeaderAgentID) {
		t.Errorf("P-5: removes %v", ok.HeadersToRemove)
	}
	mustBlank(t, ok, "x-ath-decision-id")
}

// mustHoldOfCompanion: the handshake arrives as it was sent, and no guard of a
// route to a provider takes the answer.
func mustHoldOfCompanion(t *testing.T, r *authv3.CheckResponse) {
	t.Helper()
	ok, meta := r.GetOkResponse(), r.DynamicMetadata.AsMap()
	if len(ok.Headers)+len(ok.HeadersToRemove)+len(ok.ResponseHeadersToAdd)+len(ok.QueryParametersToSet)+len(ok.QueryParametersToRemove) > 0 {
		t.Errorf("P-5: the request is changed: %v", ok)
	}
	if meta[envoy.MetaProvider] != "" || meta[envoy.MetaAllow] != true {
		t.Errorf("metadata %v", meta)
	}
}

func mustHoldOfRefusal(t *testing.T, w *world, r *authv3.CheckResponse, wire string) {
	t.Helper()
	if _, there := r.DynamicMetadata.GetFields()[envoy.MetaAllow]; there {
		t.Errorf("a refusal carries %s", envoy.MetaAllow)
	}
	for name, secret := range map[string]string{"the user's token": userToken, "the ATH token": w.token.Secret().Reveal(), "a panic's value": "secret in a panic"} {
		if strings.Contains(wire, secret) {
			t.Errorf("a refusal holds %s", name)
		}
	}
	denied := r.GetDeniedResponse()
	status := int(denied.GetStatus().GetCode())
	if status < 400 || status > 599 {
		t.Errorf("status %d", status)
	}
	if want := codes.PermissionDenied; status != 401 && codes.Code(r.Status.Code) != want {
		t.Errorf("gRPC code %d with status %d", r.Status.Code, status)
	}
	headers := map[string]string{}
	for _, h := range denied.Headers {
		if h.Append == nil || h.Append.Value {
			t.Errorf("%s would be appended", h.Header.Key)
		}
		headers[h.Header.Key] = h.Header.Value
	}
	want := map[string]string{"content-type": "application/json", "cache-control": "no-store", "x-ath-decision-id": bodyOf(t, denied).Details.DecisionID}
	switch status {
	case 401:
		want["www-authenticate"] = `Bearer realm="ath", error="invalid_token"`
		if r.DynamicMetadata.Fields[envoy.MetaReason].GetStringValue() == string(authz.TokenMissing) {
			want["www-authenticate"] = `Bearer realm="ath"` // RFC 6750, section 3.1
		}
		if codes.Code(r.Status.Code) != codes.Unauthenticated {
			t.Errorf("401 with gRPC code %d", r.Status.Code)
		}
	case 403:
		if reason := r.DynamicMetadata.Fields[envoy.MetaReason].GetStringValue(); reason == string(authz.ScopeMissing) || reason == string(authz.ScopeDenied) || reason == string(authz.UpgradeNotAllowed) {
			want["www-authenticate"] = `Bearer realm="ath", error="insufficient_scope"` // P-11
			if next := bodyOf(t, denied).Details.Next; len(next.Scopes) > 0 {
				want["www-authenticate"] += `, scope="` + strings.Join(next.Scopes, " ") + `"`
			}
		}
	case 429:
		want["retry-after"] = strconv.Itoa(bodyOf(t, denied).Details.RetryAfter)
	case 503:
		want["retry-after"] = "1"
	}
	if !maps.Equal(headers, want) {
		t.Errorf("headers %v, want %v", headers, want)
	}
	body := bodyOf(t, denied)
	if body.Code == "" || body.Message == "" {
		t.Errorf("E-1: body %s", denied.Body)
	}
	if id := r.DynamicMetadata.Fields[envoy.MetaDecision].GetStringValue(); body.Details.DecisionID != id {
		t.Errorf("E-2: the body says decision %q, the metadata %q", body.Details.DecisionID, id)
	}
}

// proves: P-1, P-11
func TestRefusalsLeadOn(t *testing.T) {
	w := newWorld(t)
	denied := w.check(w.checks(), w.ask(with("authorization", ""))).GetDeniedResponse()
	if got := bodyOf(t, denied).Details.Discovery; got != "https://gw.example/.well-known/ath.json" {
		t.Errorf("without a token: discovery is %q", got)
	}
	denied = w.check(w.checks(), w.ask(with(":method", "POST"))).GetDeniedResponse()
	next := bodyOf(t, denied).Details.Next
	if next.Step != "authorize" || next.ProviderID != apiProvider || !slices.Equal(next.Scopes, []string{"products:write"}) {
		t.Errorf("without a scope: next is %+v", next)
	}
	for _, h := range denied.Headers {
		if h.Header.Key == "www-authenticate" && h.Header.Value == `Bearer realm="ath", error="insufficient_scope", scope="products:write"` {
			return
		}
	}
	t.Errorf("P-11: headers %v", denied.Headers)
}

func TestP6ReauthorizationIsNamedInTheDetails(t *testing.T) {
	w := newWorld(t)
	w.reading.Connection = nil
	denied := w.check(w.checks(), w.ask()).GetDeniedResponse()
	if got := bodyOf(t, denied).Details.Reason; got != "reauthorization_required" {
		t.Errorf("details.reason is %q", got)
	}
}

// What is odd about the caller or the message refuses, whoever decides.
func TestOddChecksAreRefused(t *testing.T) {
	w := newWorld(t)
	allows := w.decider().Decide
	zero := func(context.Context, authz.Request) authz.Decision { return authz.Decision{} }
	panics := func(context.Context, authz.Request) authz.Decision { panic("secret in a panic") }
	for _, another := range []string{"x", ""} {
		// A decision for another provider than the route's opens nothing.
		t.Run(fmt.Sprintf("decided for another provider: %q", another), func(t *testing.T) {
			c := checksOf(t, func(ctx context.Context, r authz.Request) authz.Decision {
				d := allows(ctx, r)
				d.Provider = another
				return d
			})
			refused(t, w, w.check(c, w.ask()))
		})
	}
	for name, decide := range map[string]func(context.Context, authz.Request) authz.Decision{"allows": allows, "zero": zero, "panics": panics} {
		c := checksOf(t, decide)
		requests := map[string]*authv3.CheckRequest{
			"nil":           nil,
			"empty":         {},
			"no request":    {Attributes: &authv3.AttributeContext{}},
			"no http":       {Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{}}},
			"empty http":    {Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{}}}},
			"nil header":    w.ask(func(a *authv3.AttributeContext) { a.Request.Http.HeaderMap.Headers[2] = nil }),
			"no extensions": w.ask(func(a *authv3.AttributeContext) { a.ContextExtensions = nil }),
		}
		if name != "allows" {
			requests["in order"] = w.ask()
		}
		for kind, request := range requests {
			t.Run(name+"/"+kind, func(t *testing.T) { refused(t, w, w.check(c, request)) })
		}
	}
}

func refused(t *testing.T, w *world, r *authv3.CheckResponse) {
	t.Helper()
	mustHold(t, w, r)
	if r.GetDeniedResponse() == nil {
		t.Fatal("allowed")
	}
}

func TestADecisionHasADeadline(t *testing.T) {
	w := newWorld(t)
	var left time.Duration
	c := checksOf(t, func(ctx context.Context, _ authz.Request) authz.Decision {
		deadline, _ := ctx.Deadline()
		left = time.Until(deadline)
		return authz.Decision{}
	})
	w.check(c, w.ask())
	if left <= 0 || left > 5*time.Second {
		t.Errorf("%v left, want at most 5 s", left)
	}
}

// What the generated configuration lets past the check, and nothing else, is
// what athd lets pass where it is asked.
func TestMeshesPassWhatTheGeneratedRoutesDo(t *testing.T) {
	w := newWorld(t)
	w.byHost = true
	c := w.checks()
	var patterns []string
	for _, host := range envoyconfig.Manager(t, envoyconfig.Parse(t, envoyconfig.Generate(t, envoyconfig.Variants(t)["gateway"]))).GetRouteConfig().VirtualHosts {
		for _, r := range host.Routes {
			if r.GetRoute().GetCluster() == envoy.CompanionCluster && r.Match.GetSafeRegex() != nil {
				patterns = append(patterns, r.Match.GetSafeRegex().Regex)
			}
		}
	}
	pattern := regexp.MustCompile("^(?:" + strings.Join(patterns, "|") + ")$")
	passed := 0
	for _, path := range []string{
		"/", "/health", "/ath", "/ath/", "/athx/token", "/.well-known", "/.well-known/", "/.well-known/ath", "/.well-known/ath.json",
		"/.well-known/ath.json/", "/.well-known/athxjson", "/.well-known/ath-app.json", "/.well-known/ath-app.jsonx", "/x/.well-known/ath.json",
		"/ath/authorize", "/ath/authorize/", "/ath/authorize/x", "/ath/authorizex", "/ath/callback", "/ath/token", "/ath/tokens", "/ath/revoke",
		"/ath/agents", "/ath/agents/", "/ath/agents/register", "/ath/agents/ath_x/approve", "/ath/agentsx/y", "/ath/consent", "/ath/consent/",
		"/ath/consent/start", "/ath/consent/decide", "/ath/admin", "/ath/admin/", "/ath/admin/agents", "/ath/admin/providers/github",
		"/ath/proxy", "/ath/proxy/", "/ath/proxy/shop", "/ath/proxy/none/x", "/ath/proxy/token", "/ATH/token", "/ath/Token", "/api/ath/token",
	} {
		response := w.check(c, w.ask(toAthd(), with(":path", path)))
		reason := response.DynamicMetadata.Fields[envoy.MetaReason].GetStringValue()
		if got := reason == string(authz.Companion); got != pattern.MatchString(path) {
			t.Errorf("%s: %s, and the generated routes say %v", path, reason, !got)
		} else if got {
			passed++
		}
	}
	if passed < 10 {
		t.Errorf("only %d paths pass", passed)
	}
}
