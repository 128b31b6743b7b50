package extauthz

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/exchange"
	"github.com/athd/athd/envoy/extproc"
	"github.com/athd/athd/envoy/server"
)

// An effect is what Envoy makes of an answer, whatever filter asked.
type effect struct {
	Allowed  bool
	Status   int               // of a refusal
	Headers  map[string]string // set: of the request or, refusing, of the response
	Body     string
	Removed  []string
	Blanked  []string // of the API's reply
	Metadata map[string]any
}

// doors are both services, as Envoy reaches them.
type doors struct {
	t    testing.TB
	conn *grpc.ClientConn
}

func openDoors(t testing.TB, decide func(context.Context, authz.Request) authz.Decision) doors {
	t.Helper()
	judge := judgeOf(t, decide)
	s, err := server.New(server.Config{Services: []server.Service{New(judge), streamsOf(t, judge)}, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		now, cancel := context.WithCancel(context.Background())
		cancel()
		s.Shutdown(now)
		<-served
	})
	return doors{t, conn}
}

func streamsOf(t testing.TB, judge *exchange.Judge) *extproc.Processor {
	t.Helper()
	p, err := extproc.New(extproc.Config{
		Roles: exchange.Roles{envoy.RoleJudge: judge}, Default: []string{envoy.RoleJudge}, Logger: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var decisionIDs = regexp.MustCompile(`dec_[A-Za-z0-9_-]+`)

// checked is the effect by ext_authz.
func (d doors) checked(r *authv3.CheckRequest) effect {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 10*time.Second)
	defer cancel()
	reply, err := authv3.NewAuthorizationClient(d.conn).Check(ctx, r)
	if err != nil {
		d.t.Fatal(err)
	}
	e := effect{Allowed: reply.GetOkResponse() != nil, Headers: map[string]string{}, Metadata: reply.GetDynamicMetadata().AsMap()}
	headers := reply.GetOkResponse().GetHeaders()
	if denied := reply.GetDeniedResponse(); denied != nil {
		e.Status, e.Body, headers = int(denied.GetStatus().GetCode()), denied.GetBody(), denied.GetHeaders()
	}
	for _, h := range headers {
		e.Headers[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
	}
	e.Removed = slices.Clone(reply.GetOkResponse().GetHeadersToRemove())
	for _, h := range reply.GetOkResponse().GetResponseHeadersToAdd() {
		e.Blanked = append(e.Blanked, h.GetHeader().GetKey())
	}
	return e.comparable()
}

func (e effect) comparable() effect {
	slices.Sort(e.Removed)
	slices.Sort(e.Blanked)
	e.Body = decisionIDs.ReplaceAllString(e.Body, "dec_")
	for name, value := range e.Headers {
		e.Headers[name] = decisionIDs.ReplaceAllString(value, "dec_")
	}
	if id, ok := e.Metadata[envoy.MetaDecision].(string); ok {
		e.Metadata[envoy.MetaDecision] = decisionIDs.ReplaceAllString(id, "dec_")
	}
	return e
}

// processing is what ext_proc sends of the same request: what the filter's
// configuration says, and the head.
func processing(r *authv3.CheckRequest) (metadata.MD, *extprocv3.ProcessingRequest) {
	a := r.GetAttributes()
	said := metadata.MD{}
	for key, name := range map[string]string{
		envoy.ExtProvider: envoy.StreamProvider, envoy.ExtMount: envoy.StreamMount, envoy.ExtRuntime: envoy.StreamRuntime, envoy.ExtStream: envoy.StreamLimit,
	} {
		if value, there := a.GetContextExtensions()[key]; there {
			said.Set(name, value)
		}
	}
	http := a.GetRequest().GetHttp()
	headers := &corev3.HeaderMap{}
	add := func(name, value string) {
		headers.Headers = append(headers.Headers, &corev3.HeaderValue{Key: name, RawValue: []byte(value)})
	}
	for _, h := range http.GetHeaderMap().GetHeaders() {
		if h.GetKey() != envoy.HeaderAuthority {
			add(strings.ToLower(h.GetKey()), string(h.GetRawValue())+h.GetValue())
		}
	}
	for name, value := range http.GetHeaders() {
		add(name, value)
	}
	for name, value := range map[string]string{":method": http.GetMethod(), ":path": http.GetPath()} {
		if !slices.ContainsFunc(headers.Headers, func(h *corev3.HeaderValue) bool { return h.Key == name }) {
			add(name, value)
		}
	}
	add(envoy.HeaderAuthority, http.GetHost())
	message := &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{Headers: headers}}}
	if address := a.GetSource().GetAddress().GetSocketAddress().GetAddress(); address != "" {
		message.Attributes = map[string]*structpb.Struct{"envoy.filters.http.ext_proc": {Fields: map[string]*structpb.Value{
			"source.address": structpb.NewStringValue(net.JoinHostPort(address, "12345")),
		}}}
	}
	return said, message
}

// processed is the effect by ext_proc, and checks the stream's own manners.
func (d doors) processed(r *authv3.CheckRequest) effect {
	d.t.Helper()
	said, message := processing(r)
	ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(d.t.Context(), said), 10*time.Second)
	defer cancel()
	stream, err := extprocv3.NewExternalProcessorClient(d.conn).Process(ctx)
	if err != nil {
		d.t.Fatal(err)
	}
	hear := func(m *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
		if err := stream.Send(m); err != nil {
			d.t.Fatal(err)
		}
		reply, err := stream.Recv()
		if err != nil {
			d.t.Fatal(err)
		}
		return reply
	}
	reply := hear(message)
	e := effect{Headers: map[string]string{}, Metadata: map[string]any{}}
	for name, value := range reply.GetDynamicMetadata().GetFields() {
		if name != envoy.MetaNamespace {
			d.t.Errorf("metadata under %q", name)
		}
		e.Metadata = value.GetStructValue().AsMap()
	}
	if reply.GetModeOverride() != nil || reply.GetOverrideMessageTimeout() != nil || reply.GetRequestDrain() {
		d.t.Errorf("the reply says more than it may: %v", reply)
	}
	var headers []*corev3.HeaderValueOption
	switch a := reply.GetResponse().(type) {
	case *extprocv3.ProcessingResponse_ImmediateResponse:
		i := a.ImmediateResponse
		e.Status, e.Body, headers = int(i.GetStatus().GetCode()), string(i.GetBody()), i.GetHeaders().GetSetHeaders()
		if len(i.GetHeaders().GetRemoveHeaders()) > 0 || i.GetGrpcStatus() != nil {
			d.t.Errorf("a refusal: %v", i)
		}
	case *extprocv3.ProcessingResponse_RequestHeaders:
		c := a.RequestHeaders.GetResponse()
		e.Allowed, headers, e.Removed = true, c.GetHeaderMutation().GetSetHeaders(), slices.Clone(c.GetHeaderMutation().GetRemoveHeaders())
		if c.GetStatus() != extprocv3.CommonResponse_CONTINUE || c.GetBodyMutation() != nil || c.GetTrailers() != nil || c.GetClearRouteCache() {
			d.t.Errorf("an allow: %v", c)
		}
	default:
		d.t.Fatalf("%v", reply)
	}
	for _, h := range headers {
		if h.GetHeader().GetValue() != "" || h.GetAppend() != nil || h.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			d.t.Errorf("a header that ext_proc reads otherwise: %v", h)
		}
		e.Headers[h.GetHeader().GetKey()] = string(h.GetHeader().GetRawValue())
	}
	if e.Allowed {
		of := hear(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{Headers: rawHeaders(":status", "200", "set-cookie", "a=b")}}})
		mutation := of.GetResponseHeaders().GetResponse().GetHeaderMutation()
		if of.GetResponseHeaders() == nil || len(mutation.GetSetHeaders()) > 0 || of.GetDynamicMetadata() != nil {
			d.t.Errorf("of the reply: %v", of)
		}
		e.Blanked = slices.Clone(mutation.GetRemoveHeaders())
		if err := stream.CloseSend(); err != nil {
			d.t.Fatal(err)
		}
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		d.t.Errorf("the stream ends with %v", err)
	}
	return e.comparable()
}

// alike compares what both doors make of requests that w.ask makes.
func (w *world) alike(t *testing.T, d doors, edits ...func(*authv3.AttributeContext)) effect {
	t.Helper()
	edits = append(edits, func(a *authv3.AttributeContext) {
		a.Source = &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{Address: "192.0.2.7"}}}}
	})
	d.t = t
	byCheck, byStream := d.checked(w.ask(edits...)), d.processed(w.ask(edits...))
	if !reflect.DeepEqual(byCheck, byStream) {
		t.Errorf("ext_authz: %+v\next_proc:  %+v", byCheck, byStream)
	}
	return byStream
}

// Whatever the decision, both doors have the same effect.
//
// proves: P-1, P-2, P-3, P-4, P-5, P-7, P-9
func TestBothDoorsAnswerAlike(t *testing.T) {
	clients := map[string]bool{}
	recorded := func(decide func(context.Context, authz.Request) authz.Decision) func(context.Context, authz.Request) authz.Decision {
		return func(ctx context.Context, r authz.Request) authz.Decision {
			clients[r.Client] = true
			return decide(ctx, r)
		}
	}
	reasons := map[any]bool{}
	for _, way := range ways {
		if way.joined() { // ext_proc knows more of these: TestBothDoorsAnswerAlikeOfEachByteThatTheyAreTold
			continue
		}
		t.Run(way.name, func(t *testing.T) {
			w := newWorld(t)
			if way.world != nil {
				way.world(w)
			}
			edits := []func(*authv3.AttributeContext){}
			if way.edit != nil {
				edits = append(edits, way.edit)
			}
			e := w.alike(t, openDoors(t, recorded(w.decider().Decide)), edits...)
			reasons[e.Metadata[envoy.MetaReason]] = true
			if e.Status != way.status {
				t.Errorf("status %d, want %d", e.Status, way.status)
			}
		})
	}
	for _, reason := range authz.Reasons() {
		if !reasons[string(reason)] {
			t.Errorf("no stream was answered for reason %q", reason)
		}
	}
	if len(clients) != 1 || !clients["192.0.2.7"] {
		t.Errorf("clients %v", clients)
	}
}

// proves: P-3, P-4, P-5, P-7, P-9
func TestBothDoorsChangeTheSameHeaders(t *testing.T) {
	type edits = []func(*authv3.AttributeContext)
	limited := func(header string) func(*authv3.AttributeContext) {
		return func(a *authv3.AttributeContext) { a.ContextExtensions[envoy.ExtStream] = header }
	}
	w := newWorld(t)
	d := openDoors(t, w.decider().Decide)
	tools, plain := newWorld(t).withRuntime("tools"), newWorld(t).withRuntime("plain")
	atTools, atPlain := openDoors(t, tools.decider().Decide), openDoors(t, plain.decider().Decide)
	for _, tt := range []struct {
		name    string
		world   *world
		doors   doors
		edits   edits
		allowed bool
	}{
		{"headers of ours, in any spelling", w, d, edits{also("x-ath-zeta", "1"), also("X-ATH-Alpha", "1"), also("x_ath_stream_ms", "9")}, true},
		{"every header that identifies or overrides", w, d, edits{func(a *authv3.AttributeContext) {
			for _, name := range append(identifying(), envoy.OverrideHeaders[:]...) {
				also(name, "a")(a)
				also(strings.ReplaceAll(name, "-", "_"), "a")(a)
			}
		}}, true},
		{"cookies", w, d, edits{also("cookie", "a=b"), also("cookie", "ath_consent_x=1")}, true},
		{"bytes that are not UTF-8 in a header that goes up", w, d, edits{also("x-note", "\xff\xfe")}, true},
		{"P-1: two tokens", w, d, edits{also("authorization", "Bearer x")}, false},
		{"P-7: two paths", w, d, edits{also(":path", "/")}, false},
		{"P-7: two methods", w, d, edits{also(":method", "GET")}, false},
		{"P-7: a path that is not UTF-8", w, d, edits{with(":path", apiMount+"products/\xff")}, false},
		{"P-5: a name that cannot be removed", w, d, edits{also("x-ath-"+strings.Repeat("a", exchange.MaxHeaderNameBytes), "1")}, false},
		{"P-5: more names than can be removed", w, d, edits{func(a *authv3.AttributeContext) {
			for i := range exchange.MaxHeaderNames {
				also(fmt.Sprintf("x-ath-%d", i), "1")(a)
			}
		}}, false},
		{"P-5: a token in a header", w, d, edits{also("referer", "https://a.example/?t=ath_tk_x")}, false},
		{"P-5: a token in a header, encoded", w, d, edits{also("x-api-key", "%2561th_tk_x")}, false},
		{"a stream's rest for the generated routes", w, d, edits{limited(envoy.HeaderStream), also(envoy.HeaderStream, "9999999")}, true},
		{"a stream's rest for the router", w, d, edits{limited(envoy.HeaderStreamEnvoy), also(envoy.HeaderStreamEnvoy, "9999999")}, true},
		{"a stream's rest in a header that none is for", w, d, edits{limited("x-other")}, true},
		{"people, and their cookies", w, d, edits{byPerson("cookie", "a=b; ath_consent_x=1", "x-ath-agent-id", "x", "x-forwarded-user", "me")}, true},
		{"people, and our cookies alone", w, d, edits{byPerson("cookie", "ath_consent_x=1")}, true},
		{"run-time providers", tools, atTools, edits{onRuntimeRoute("tools"), also("x-ath-other", "1")}, true},
		{"run-time providers, with a query", tools, atTools, edits{with(":path", apiMount+"products/7?a=%2F"), onRuntimeRoute("tools")}, true},
		{"run-time providers without TLS", plain, atPlain, edits{onRuntimeRoute("plain")}, true},
		{"run-time providers, on a static route", tools, atTools, nil, false},
		{"run-time providers, and a route that names one", tools, atTools, edits{onRuntimeRoute("tools"), func(a *authv3.AttributeContext) { a.ContextExtensions[envoy.ExtProvider] = "tools" }}, false},
		{"no extensions", w, d, edits{func(a *authv3.AttributeContext) { a.ContextExtensions = nil }}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := tt.world.alike(t, tt.doors, tt.edits...)
			if e.Allowed != tt.allowed {
				t.Errorf("allowed: %v; %+v", e.Allowed, e)
			}
			if e.Allowed && e.Headers[envoy.HeaderAuthorization] == "" && e.Metadata[envoy.MetaReason] == string(authz.Allowed) {
				t.Error("no credential was set")
			}
		})
	}
}

// What leads an agent on, to a new token or to the user's consent, is the same.
func TestBothDoorsLeadOn(t *testing.T) {
	for name, change := range map[string]func(*world){
		"to a wider scope":    func(w *world) { w.reading.Grant.Scopes = ath.Scopes{"products:write"} },
		"to consent, again":   func(w *world) { w.reading.Connection.Ended = true },
		"to a new token":      func(w *world) { w.reading.Grant.Expires = w.now },
		"to try again, later": func(w *world) { w.err = errors.New("away") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			change(w)
			e := w.alike(t, openDoors(t, w.decider().Decide))
			if e.Allowed || e.Headers["content-type"] != "application/json" || e.Headers[envoy.HeaderDecisionID] != "dec_" || e.Headers["cache-control"] != "no-store" {
				t.Errorf("%+v", e)
			}
		})
	}
}
