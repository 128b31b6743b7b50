package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/config"
	"github.com/athd/athd/config/configtest"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/ratelimit"
	"github.com/athd/athd/test/harness/locked"
	"github.com/athd/athd/tokenstore"
	"github.com/athd/athd/vault"
)

const (
	wiredAgent = "https://agent.example/agent.json"
	wiredPath  = "/ath/proxy/files/files/7"
	// wiredProviders is one whose 401s are looked into and whose links are rewritten.
	wiredProviders = `{"files": {"display_name": "Files", "available_scopes": ["files:read"], "client_id": "id", "client_secret": "secret",
		"authorize_endpoint": "https://files.example.com/authorize", "token_endpoint": "https://files.example.com/token", "api_base_url": "https://api.files.example.com",
		"retry_on_401": true, "rewrite_links": true, "scope_rules": [{"scope": "files:read", "methods": ["GET"], "paths": ["/files/**"]}]}}`
)

// A wired is an athd as it is put together, which answers Envoy over gRPC.
type wired struct {
	*assembly
	t        *testing.T
	settings *config.Settings
	events   *locked.Buffer
	conn     *grpc.ClientConn
	token    ath.Token
	access   ath.Secret
	shutdown func()
}

// wire starts an athd of an athd.yaml of the parts, of which an agent holds a token.
func wire(t *testing.T, parts map[string]string) *wired {
	t.Helper()
	all := map[string]string{"store": "{url: embedded}", "envoy": "{streams: watched, replies: checked}"}
	maps.Copy(all, parts)
	m := configtest.NewMachine(t)
	m.Files["/etc/athd/providers.json"] = wiredProviders
	m.Files["/etc/athd/plain.json"] = strings.Replace(wiredProviders, `"retry_on_401": true, "rewrite_links": true, `, "", 1)
	w := &wired{t: t, settings: parsed(t, m, all), events: &locked.Buffer{}, token: ath.NewToken(ath.NewTag()), access: ath.NewSecret("the-token-of-alice-at-files")}
	var err error
	if w.assembly, err = assemble(w.settings, slog.New(slog.DiscardHandler), w.events); err != nil {
		t.Fatal(err)
	}
	w.reload(config.Snapshot{Settings: w.settings}, nil)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { w.streams.Run(ctx) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	running.Go(func() { _ = w.asked.Serve(l) })
	if w.conn, err = grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	w.shutdown = sync.OnceFunc(func() {
		soon, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		w.asked.Shutdown(soon)
	})
	t.Cleanup(func() {
		w.conn.Close()
		w.shutdown()
		stop()
		running.Wait()
		w.store.Close()
		w.trail.Close()
	})
	w.hold()
	return w
}

// hold stores what a handshake leaves behind.
func (w *wired) hold() {
	w.t.Helper()
	ctx, now, p := w.t.Context(), time.Now(), w.providers.Current().Get("files")
	later, scopes := now.Add(time.Hour), ath.Scopes{"files:read"}
	err := w.store.CreateAgent(ctx, tokenstore.Agent{
		ID: wiredAgent, ClientID: "client", SecretDigest: ath.DigestOf("x"), Name: "An agent", ApprovalExpires: later, Registered: now,
		Approvals: []tokenstore.Approval{{Provider: p.ID, Approved: scopes}},
	})
	for _, err := range []error{err, w.connect(w.access), w.store.PutGrant(ctx, w.token, tokenstore.Grant{
		Agent: wiredAgent, ClientID: "client", User: "alice", Provider: p.ID, Scopes: scopes, Connection: w.token.Tag(), Issued: now, Expires: later,
	})} {
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *wired) connect(access ath.Secret) error {
	p := w.providers.Current().Get("files")
	return w.store.PutConnection(w.t.Context(), w.token.Tag(), tokenstore.Connection{
		Agent: wiredAgent, User: "alice", Provider: p.ID, Access: access, Scopes: ath.Scopes{"files:read"}, Created: time.Now(),
		Destination: p.Destination(), Bound: p.Bound(),
	}, time.Now().Add(time.Hour))
}

// settle has athd go on with other settings.
func (w *wired) settle(edit func(*config.Settings)) error {
	next := *w.reloader.current()
	edit(&next)
	if err := w.apply(w.t.Context(), &next); err != nil {
		return err
	}
	w.reloader.accept(&next, config.Snapshot{Settings: &next}, nil)
	return nil
}

func (w *wired) taken(edit func(*config.Settings)) {
	w.t.Helper()
	if err := w.settle(edit); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wired) head(more ...string) *corev3.HeaderMap {
	m := &corev3.HeaderMap{}
	pairs := append([]string{":method", "GET", ":path", wiredPath, ":authority", "gateway.example.com", "authorization", "Bearer " + w.token.Secret().Reveal(), "x-ath-agent-id", wiredAgent}, more...)
	for i := 0; i < len(pairs); i += 2 {
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: pairs[i], RawValue: []byte(pairs[i+1])})
	}
	return m
}

// check asks by ext_authz, and returns the dynamic metadata and an allow's headers.
func (w *wired) check(more ...string) (said map[string]any, sets map[string]string) {
	w.t.Helper()
	reply, err := authv3.NewAuthorizationClient(w.conn).Check(w.t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source:            &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{Address: "198.51.100.7", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 4711}}}}},
		ContextExtensions: map[string]string{envoy.ExtProvider: "files", envoy.ExtMount: "/ath/proxy/files/"},
		Request:           &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{HeaderMap: w.head(more...)}},
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	sets = map[string]string{}
	for _, h := range reply.GetOkResponse().GetHeaders() {
		sets[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
	}
	return reply.GetDynamicMetadata().AsMap(), sets
}

// allowed is what an allow has said.
func (w *wired) allowed() map[string]any {
	w.t.Helper()
	said, sets := w.check()
	if said[envoy.MetaReason] != "allowed" || sets["authorization"] != "Bearer "+w.access.Reveal() {
		w.t.Fatalf("%v, %v", said, slices.Collect(maps.Keys(sets)))
	}
	return said
}

type heardStream = grpc.BidiStreamingClient[extprocv3.ProcessingRequest, extprocv3.ProcessingResponse]

// open opens a stream of ext_proc, by metadata of the filter.
func (w *wired) open(filter ...string) heardStream {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	w.t.Cleanup(cancel)
	s, err := extprocv3.NewExternalProcessorClient(w.conn).Process(metadata.AppendToOutgoingContext(ctx, filter...))
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// request and reply are messages about the head of one, with what the decision said.
func (w *wired) request(said map[string]any) *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{
		Request:         &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{Headers: w.head()}},
		MetadataContext: w.decided(said),
	}
}

func (w *wired) reply(said map[string]any, pairs ...string) *extprocv3.ProcessingRequest {
	m := &corev3.HeaderMap{}
	for i := 0; i < len(pairs); i += 2 {
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: pairs[i], RawValue: []byte(pairs[i+1])})
	}
	return &extprocv3.ProcessingRequest{
		Request:         &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{Headers: m}},
		MetadataContext: w.decided(said),
	}
}

func (w *wired) decided(said map[string]any) *corev3.Metadata {
	w.t.Helper()
	s, err := structpb.NewStruct(said)
	if err != nil {
		w.t.Fatal(err)
	}
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{envoy.MetaNamespace: s}}
}

func (w *wired) said(s heardStream, m *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
	w.t.Helper()
	if err := s.Send(m); err != nil {
		w.t.Fatal(err)
	}
	reply, err := s.Recv()
	if err != nil {
		w.t.Fatal(err)
	}
	return reply
}

// watch opens a stream that is under watch from now on.
func (w *wired) watch(said map[string]any) heardStream {
	w.t.Helper()
	s := w.open(envoy.StreamRole, envoy.RoleWatch)
	if reply := w.said(s, w.request(said)); reply.GetRequestHeaders() == nil {
		w.t.Fatalf("%v", reply)
	}
	return s
}

// metric is the sum of what a metric has where its labels hold all of some.
func (w *wired) metric(name string, labels ...string) (sum float64) {
	w.t.Helper()
	families, err := w.metrics.registry.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var has []string
			for _, l := range m.GetLabel() {
				has = append(has, l.GetName()+"="+l.GetValue())
			}
			if !slices.ContainsFunc(labels, func(l string) bool { return !slices.Contains(has, l) }) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

// counts waits until a metric is what it is to be: some count behind the answer.
func (w *wired) counts(want float64, name string, labels ...string) {
	w.t.Helper()
	if !soon(func() bool { return w.metric(name, labels...) == want }) {
		w.t.Errorf("%s%v is %v, want %v", name, labels, w.metric(name, labels...), want)
	}
}

// records waits until the events hold a text: they are written beside.
func (w *wired) records(text string) {
	w.t.Helper()
	if !soon(func() bool { return strings.Contains(w.events.String(), text) }) {
		w.t.Errorf("no event holds %s: %s", text, w.events.String())
	}
}

func soon(is func() bool) bool {
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

func denies(t *testing.T) approval.Policy {
	t.Helper()
	scope, err := approval.ParseGlob("files:read")
	if err != nil {
		t.Fatal(err)
	}
	return approval.Policy{Default: approval.Review, Rules: []approval.Rule{{Scopes: []approval.Glob{scope}, Action: approval.Deny}}}
}

// One decision serves both doors, and says what the rest of the exchange needs.
//
// proves: P-1
func TestBothDoorsDecide(t *testing.T) {
	w := wire(t, nil)
	if said := w.allowed(); said[envoy.MetaHeld] == nil || said[envoy.MetaRetry] != true {
		t.Errorf("by ext_authz: %v", said)
	}
	for name, filter := range map[string][]string{"a filter that says no role": nil, "the judge's": {envoy.StreamRole, envoy.RoleJudge}} {
		reply := w.said(w.open(append(filter, envoy.StreamProvider, "files", envoy.StreamMount, "/ath/proxy/files/")...), w.request(nil))
		said, _ := reply.GetDynamicMetadata().AsMap()[envoy.MetaNamespace].(map[string]any)
		if reply.GetRequestHeaders() == nil || said[envoy.MetaAllow] != true || said[envoy.MetaHeld] == nil {
			t.Errorf("%s: %v", name, said)
		}
	}
}

// Where nobody hears of the rest of an exchange, nothing is said for them.
//
// proves: V-4
func TestOnlyWhoHearsIsToldWhatACallHolds(t *testing.T) {
	for envoyKeys, want := range map[string]bool{"{}": false, "{streams: watched}": true, "{replies: checked}": true} {
		w := wire(t, map[string]string{"envoy": envoyKeys, "providers_file": "plain.json"})
		if said := w.allowed(); (said[envoy.MetaHeld] != nil) != want {
			t.Errorf("envoy: %s: %v", envoyKeys, said)
		}
	}
}

// proves: P-4
func TestStreamsFollowThePolicyThatIsTaken(t *testing.T) {
	w := wire(t, map[string]string{"limits": "{streams: {per_grant: 1, per_agent: 5, total: 5}}"})
	said := w.allowed()
	s := w.watch(said)
	w.counts(1, "athd_streams")
	if reply := w.said(w.open(envoy.StreamRole, envoy.RoleWatch), w.request(said)); reply.GetImmediateResponse().GetStatus().GetCode() != 429 {
		t.Errorf("above the cap: %v", reply)
	}
	w.counts(1, "athd_streams_refused_total", "limit=per_grant")
	w.taken(func(s *config.Settings) { s.Streams.PerGrant = 2 })
	second := w.watch(said)
	w.taken(func(s *config.Settings) { s.Policy = denies(t) })
	for _, s := range []heardStream{s, second} {
		if reply, err := s.Recv(); err != nil || reply.GetImmediateResponse().GetStatus().GetCode() != 403 {
			t.Errorf("it goes on: %v, %v", reply, err)
		}
	}
	w.counts(2, "athd_streams_ended_total", "reason=scope_denied")
	w.counts(2, "athd_stream_end_seconds")
	w.counts(0, "athd_streams")
	if said, _ := w.check(); said[envoy.MetaReason] != "scope_denied" {
		t.Errorf("a decision: %v", said)
	}
}

// proves: P-12
func TestTheLimitOfCallsThatIsTakenCounts(t *testing.T) {
	w := wire(t, map[string]string{"limits": "{calls_per_grant: 2/h}"})
	passes := func() (n int) {
		t.Helper()
		for range 8 {
			switch said, _ := w.check(); said[envoy.MetaReason] {
			case "allowed":
				n++
			case "rate_limited":
			default:
				t.Fatal(said)
			}
		}
		return n
	}
	if n := passes(); n != 2 {
		t.Errorf("%d calls pass from the start, want 2", n)
	}
	w.taken(func(s *config.Settings) { s.CallsPerGrant = ratelimit.Unlimited })
	if n := passes(); n != 8 {
		t.Errorf("%d calls pass without a limit, want 8", n)
	}
	w.taken(func(s *config.Settings) { s.CallsPerGrant = ratelimit.Rate{N: 3, Per: time.Hour} })
	if n := passes(); n != 3 {
		t.Errorf("%d calls pass, want 3", n)
	}
}

// What becomes of streams where athd stops is as it was when athd started, whatever
// was taken since.
func TestStreamsEndOrAreKeptWhereAthdStops(t *testing.T) {
	for onLoss, kept := range map[string]bool{"end": false, "keep": true} {
		for _, reloaded := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, reloaded: %v", onLoss, reloaded), func(t *testing.T) {
				w := wire(t, map[string]string{"envoy": "{streams: watched, replies: checked, streams_on_loss: " + onLoss + "}"})
				s := w.watch(w.allowed())
				if reloaded {
					w.taken(func(s *config.Settings) { s.Log.Level = slog.LevelError })
				}
				w.shutdown()
				reply, err := s.Recv()
				if kept && !errors.Is(err, io.EOF) || !kept && reply.GetImmediateResponse().GetStatus().GetCode() != 503 {
					t.Errorf("%v, %v", reply, err)
				}
				reason := "draining"
				if kept {
					reason = "released"
				}
				w.counts(1, "athd_streams_ended_total", "reason="+reason)
			})
		}
	}
}

// proves: P-9
func TestRepliesAreRead(t *testing.T) {
	w := wire(t, nil)
	said := w.allowed()
	reply := w.said(w.open(envoy.StreamRole, envoy.RoleReply), w.reply(said, ":status", "429", "x-echo", w.access.Reveal(), "location", "https://api.files.example.com/files/8"))
	mutation := reply.GetResponseHeaders().GetResponse().GetHeaderMutation()
	if !slices.Equal(mutation.GetRemoveHeaders(), []string{"x-echo"}) || len(mutation.GetSetHeaders()) != 1 ||
		string(mutation.GetSetHeaders()[0].GetHeader().GetRawValue()) != "https://gateway.example.com/ath/proxy/files/files/8" {
		t.Errorf("%v", reply)
	}
	w.counts(1, "athd_credentials_echoed_total", "provider=files")
	w.counts(1, "athd_api_rate_limited_total", "provider=files")
	w.records("credential_echoed")
	if strings.Contains(w.events.String(), w.access.Reveal()) {
		t.Error("an event holds the token")
	}
}

// What the API has rejected is looked into by the vault, and the second try goes with
// what has come since.
func TestASecondTryGetsTheNextToken(t *testing.T) {
	w := wire(t, nil)
	said := w.allowed()
	try := func() string {
		t.Helper()
		reply := w.said(w.open(envoy.StreamRole, envoy.RoleRetry), w.request(said))
		for _, h := range reply.GetRequestHeaders().GetResponse().GetHeaderMutation().GetSetHeaders() {
			if h.GetHeader().GetKey() == "authorization" {
				return string(h.GetHeader().GetRawValue())
			}
		}
		return ""
	}
	if got := try(); got != "" {
		t.Error("there is another token")
	}
	w.counts(1, "athd_rejected_tokens_total", "provider=files", "outcome="+string(vault.RejectedUnjudged))
	if err := w.connect(ath.NewSecret("the-next-token-of-alice")); err != nil {
		t.Fatal(err)
	}
	if got := try(); got != "Bearer the-next-token-of-alice" {
		t.Errorf("%q", got)
	}
	w.counts(1, "athd_rejected_tokens_total", "provider=files", "outcome="+string(vault.RejectedRenewed))
}

// Of proxies in front of Envoy as many are believed as the configuration says.
func TestEventsTellTheClientBehindTrustedProxies(t *testing.T) {
	for hops, want := range map[string]string{"0": "198.51.100.7", "1": "203.0.113.9"} {
		w := wire(t, map[string]string{"envoy": "{trusted_hops: " + hops + "}", "providers_file": "plain.json", "log": "{format: json}"})
		if said, _ := w.check("x-ath-agent-id", "https://other.example/", "x-forwarded-for", "203.0.113.9, 192.0.2.1"); said[envoy.MetaReason] == "allowed" {
			t.Fatal(said)
		}
		w.records(want)
	}
}

// Policies come before what else is taken, and go again where that fails.
//
// proves: P-4
func TestAPolicyIsTakenBackWhereTheRestIsNotTaken(t *testing.T) {
	w := wire(t, nil)
	added := ath.NewSecret(`{"display_name": "X", "available_scopes": ["a:read"], "client_id": "c", "client_secret": "s",
		"authorize_endpoint": "https://login.example/authorize", "token_endpoint": "https://login.example/token", "api_base_url": "https://api.example"}`)
	if err := w.catalog.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.catalog.Add(t.Context(), "shop", added, "ops"); err != nil {
		t.Fatal(err)
	}
	m := configtest.NewMachine(t)
	m.Files["/etc/athd/providers.json"] = strings.Replace(wiredProviders, `"client_secret": "secret"`, `"token_auth_method": "none"`, 1)
	mixed := parsed(t, m, map[string]string{"envoy": "{streams: watched, replies: checked}"})
	if err := w.settle(func(s *config.Settings) { s.Providers, s.Policy = mixed.Providers, denies(t) }); err == nil {
		t.Fatal("it is taken")
	}
	w.allowed()
	w.taken(func(s *config.Settings) { s.Policy = denies(t) })
	if said, _ := w.check(); said[envoy.MetaReason] != "scope_denied" {
		t.Errorf("%v", said)
	}
}

// The log's level is that of what is taken.
func TestTheLevelOfTheLogIsTaken(t *testing.T) {
	w := wire(t, nil)
	w.level = &slog.LevelVar{}
	w.taken(func(s *config.Settings) { s.Log.Level = slog.LevelWarn })
	if w.level.Level() != slog.LevelWarn {
		t.Error(w.level)
	}
}
