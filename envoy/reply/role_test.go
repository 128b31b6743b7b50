package reply

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"maps"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/canary"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/exchange"
	"github.com/athd/athd/provider"
)

const userToken = "gho_16C7e42F292c6912E7710c838347Ae178B4a"

// A desk is a role with what it has told.
type desk struct {
	*Role
	now    time.Time
	events bytes.Buffer
	seen   []string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	base, _ := url.Parse("https://api.example/v1")
	set, err := provider.NewSet(&provider.Provider{ID: "shop", APIBase: base, RewriteLinks: true}, &provider.Provider{ID: "plain", APIBase: base})
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{now: time.Unix(1e9, 0)}
	d.Role, err = New(Config{
		Providers: provider.NewProviders(set), PublicURL: "https://gw.example", Audit: audit.New(audit.Config{Writer: &d.events, JSON: true}),
		Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return d.now },
		Observe: func(provider, what string) { d.seen = append(d.seen, provider+" "+what) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// said is what the decision about an agent's request said.
func said(provider string) map[string]string {
	token := ath.NewToken(ath.NewTag())
	held := authz.Held{
		Tag: token.Tag(), Grant: token.Digest(), Agent: "https://agent.example/a.json", Provider: provider, Scope: "read", Rules: 1, Until: time.Unix(2e9, 0),
		Credential: ath.FingerprintOf(ath.NewSecret(userToken)), Mark: canary.MarkOf(ath.NewSecret(userToken)),
	}
	return map[string]string{envoy.MetaReason: "allowed", envoy.MetaAllow: "true", envoy.MetaDecision: "dec_1", envoy.MetaHeld: held.Text()}
}

func (d *desk) hear(t *testing.T, phase exchange.Phase, said map[string]string, headers ...string) (exchange.Reply, error) {
	t.Helper()
	m := &exchange.Message{Phase: phase, Metadata: said}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		m.Headers = append(m.Headers, exchange.Header{Name: name, Value: value})
	}
	h := d.Open(nil)
	defer h.Close()
	return h.Hear(t.Context(), m)
}

// proves: P-9
func TestEchoedTokensAreTakenOut(t *testing.T) {
	basic := base64.StdEncoding.EncodeToString([]byte("x:" + userToken))
	for _, phase := range []exchange.Phase{exchange.ResponseHeaders, exchange.ResponseTrailers} {
		d := newDesk(t)
		got, err := d.hear(t, phase, said("shop"), "content-type: text/plain", "x-echo: Bearer "+userToken, "x-debug: a", "x-debug: {\"t\":\""+userToken+"\"}",
			"www-authenticate: Basic "+basic, "set-cookie: t="+userToken, "set-cookie: a=b", "link: <https://api.example/v1/x?access_token="+userToken+">", "etag: \"1\"")
		want := exchange.Reply{Remove: []string{"link", "set-cookie", "www-authenticate", "x-debug", "x-echo"}}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%d: %+v, %v", phase, got, err)
		}
		if !reflect.DeepEqual(d.seen, []string{"shop echoed"}) {
			t.Errorf("%d: counted %q", phase, d.seen)
		}
		if text := d.events.String(); !strings.Contains(text, `"headers":"link set-cookie www-authenticate x-debug x-echo"`) || !strings.Contains(text, `"provider_id":"shop"`) || strings.Contains(text, userToken) {
			t.Errorf("%d: %s", phase, text)
		}
	}
}

// proves: P-9
func TestTheTokenOfASecondTryIsTakenOutToo(t *testing.T) {
	const second = "gho_the-token-that-came-after-the-first-one"
	for _, phase := range []exchange.Phase{exchange.ResponseHeaders, exchange.ResponseTrailers} {
		d := newDesk(t)
		m := &exchange.Message{Phase: phase, Metadata: said("shop"), Sent: canary.Of(ath.NewSecret(second)).Text(), Headers: []exchange.Header{
			{Name: "x-second", Value: "Bearer " + second}, {Name: "x-first", Value: userToken}, {Name: "x-kept", Value: "yes"},
		}}
		got, err := d.Open(nil).Hear(t.Context(), m)
		if want := (exchange.Reply{Remove: []string{"x-first", "x-second"}}); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%d: %+v, %v", phase, got, err)
		}
		m.Sent = "odd"
		if _, err := d.Open(nil).Hear(t.Context(), m); err == nil {
			t.Errorf("%d: a reply goes on, of which nobody knows what the request had", phase)
		}
	}
}

func TestAReplyThatHoldsNothingGoesOnAsItCame(t *testing.T) {
	d := newDesk(t)
	for _, phase := range []exchange.Phase{exchange.RequestHeaders, exchange.ResponseHeaders, exchange.ResponseTrailers} {
		got, err := d.hear(t, phase, said("plain"), ":status: 200", "content-type: text/plain", "location: https://api.example/v1/x", "link: <https://api.example/v1/x>", "x-other: "+strings.ToUpper(userToken))
		if err != nil || !reflect.DeepEqual(got, exchange.Reply{}) {
			t.Errorf("%d: %+v, %v", phase, got, err)
		}
	}
	if len(d.seen)+d.events.Len() > 0 {
		t.Errorf("%q, %s", d.seen, d.events.String())
	}
}

// One that cannot do without the header is not passed on.
func TestATokenInWhatFramesAReplyRefusesIt(t *testing.T) {
	d := newDesk(t)
	for _, name := range []string{"trailer", "connection", "upgrade", ":odd"} {
		got, err := d.hear(t, exchange.ResponseHeaders, said("shop"), name+": "+userToken)
		if err != nil || got.Refusal == nil || got.Refusal.Status != 502 || strings.Contains(got.Refusal.Body, userToken) || !strings.Contains(got.Refusal.Body, `"decision_id":"dec_1"`) {
			t.Errorf("%s: %+v, %v", name, got.Refusal, err)
		}
	}
}

// proves: P-9
func TestCookiesOfAgentsLeaveNothing(t *testing.T) {
	d := newDesk(t)
	for _, phase := range []exchange.Phase{exchange.ResponseHeaders, exchange.ResponseTrailers} {
		for _, cookies := range [][]string{{"set-cookie: a=b"}, {"set-cookie: a=b", "set-cookie: c=d"}} {
			got, err := d.hear(t, phase, said("plain"), append([]string{":status: 200"}, cookies...)...)
			if err != nil || !reflect.DeepEqual(got, exchange.Reply{Remove: []string{"set-cookie"}}) {
				t.Errorf("%d, %d cookies: %+v, %v", phase, len(cookies), got, err)
			}
		}
	}
}

// People's replies are their own, and athd's refusals hold nothing of an API.
func TestOtherRepliesAreNobodysBusiness(t *testing.T) {
	d := newDesk(t)
	for _, reason := range authz.Reasons() {
		if reason == authz.Allowed {
			continue
		}
		got, err := d.hear(t, exchange.ResponseHeaders, map[string]string{envoy.MetaReason: string(reason)}, "set-cookie: a=b", "x-echo: "+userToken, "location: https://api.example/v1/x")
		if err != nil || !reflect.DeepEqual(got, exchange.Reply{}) {
			t.Errorf("%s: %+v, %v", reason, got, err)
		}
	}
}

// proves: P-1, P-9
func TestRepliesThatCannotBeCheckedAreEnded(t *testing.T) {
	d := newDesk(t)
	for name, edit := range map[string]func(map[string]string){
		"nothing is known":       func(m map[string]string) { clear(m) },
		"no reason":              func(m map[string]string) { delete(m, envoy.MetaReason) },
		"nothing of what it had": func(m map[string]string) { delete(m, envoy.MetaHeld) },
		"an empty text":          func(m map[string]string) { m[envoy.MetaHeld] = "" },
		"an odd text":            func(m map[string]string) { m[envoy.MetaHeld] += "x" },
	} {
		m := maps.Clone(said("shop"))
		edit(m)
		// Also of a request, which nobody may have judged.
		for _, phase := range []exchange.Phase{exchange.RequestHeaders, exchange.ResponseHeaders, exchange.ResponseTrailers} {
			if _, err := d.hear(t, phase, m, ":status: 200"); err == nil {
				t.Errorf("%s, %d: it goes on", name, phase)
			}
		}
	}
}

func TestLinksOfAReplyLeadHere(t *testing.T) {
	d := newDesk(t)
	const here = "https://gw.example/ath/proxy/shop/"
	got, err := d.hear(t, exchange.ResponseHeaders, said("shop"), ":status: 201", "location: https://api.example/v1/a", "content-location: https://api.example/v1/b",
		"link: </c>", "link: <https://api.example/v1/d>; rel=next", "link: odd")
	want := exchange.Reply{
		Set: [][2]string{{"location", here + "a"}, {"content-location", here + "b"}, {"link", "</c>"}},
		Add: [][2]string{{"link", "<" + here + "d>; rel=next"}, {"link", "odd"}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for name, headers := range map[string][]string{
		"two":       {"location: https://api.example/v1/a", "location: https://api.example/v1/b"},
		"elsewhere": {"location: https://other.example/v1/a", "link: <https://other.example/>"},
		"a refresh": {"refresh: 0; url=https://api.example/v1/a", "x-next: https://api.example/v1/a"},
	} {
		if got, err := d.hear(t, exchange.ResponseHeaders, said("shop"), headers...); err != nil || !reflect.DeepEqual(got, exchange.Reply{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if got, err := d.hear(t, exchange.ResponseTrailers, said("shop"), "location: https://api.example/v1/a"); err != nil || !reflect.DeepEqual(got, exchange.Reply{}) {
		t.Errorf("a trailer: %+v, %v", got, err)
	}
	if got, err := d.hear(t, exchange.ResponseHeaders, said("gone"), "location: https://api.example/v1/a", "x-echo: "+userToken); err != nil || !reflect.DeepEqual(got, exchange.Reply{Remove: []string{"x-echo"}}) {
		t.Errorf("a provider that is gone: %+v, %v", got, err)
	}
}

func TestTheAPIsOwnLimitsAreCountedAndPass(t *testing.T) {
	d := newDesk(t)
	got, err := d.hear(t, exchange.ResponseHeaders, said("shop"), ":status: 429", "retry-after: 7")
	if err != nil || !reflect.DeepEqual(got, exchange.Reply{}) || !reflect.DeepEqual(d.seen, []string{"shop limited"}) {
		t.Errorf("%+v, %v, %q", got, err, d.seen)
	}
}

// An API that echoes each time does not fill the log.
func TestEchoesAreToldOnceAMinute(t *testing.T) {
	d := newDesk(t)
	echo := func(provider string) {
		if _, err := d.hear(t, exchange.ResponseHeaders, said(provider), "x-echo: "+userToken); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 {
		echo("shop")
	}
	echo("plain")
	d.now = d.now.Add(time.Minute)
	echo("shop")
	if n := strings.Count(d.events.String(), `"credential_echoed"`); n != 3 || len(d.seen) != 52 {
		t.Errorf("%d events, %d counted", n, len(d.seen))
	}
}

func TestNamesThatAnAPIChoosesAreBoundedInEvents(t *testing.T) {
	long := strings.Repeat("x", 65)
	names := []string{":status", "a", "b\n", long, "c", "d", "e", "f", "g", "h"}
	if got, want := headerNames(names), ":status a (another) (another) c d e f"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
