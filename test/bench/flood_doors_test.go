package bench

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	athclient "github.com/athd/athd/client"
	"github.com/athd/athd/test/harness/identity"
	"github.com/athd/athd/test/harness/reserve"
)

var (
	floodDoor   = flag.String("door", "", "only the doors with this in their name, or one of several divided by |")
	floodRounds = flag.Int("flood-rounds", 3, "how often each door is flooded: the median is printed")
)

// stubAddr makes a process of this binary a server that says 429 at once.
const stubAddr = "ATHD_BENCH_STUB"

func serveStub(addr string) {
	log.Fatal(http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusTooManyRequests)
		io.WriteString(w, `{"code":"RATE_LIMITED","message":"Too much."}`)
	})))
}

func startStub(t testing.TB) string {
	t.Helper()
	addr := reserve.Addr(t)
	start(t, os.Args[0], []string{stubAddr + "=" + addr}, os.Stderr)
	await(t, "the stub", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return addr
}

// A door is one way in, and the dearest request that is known for it.
type door struct {
	name string
	make func(i int) (method, path string, header http.Header, body string)
}

// send sends the i-th request, each from another address, and returns the
// status of its answer.
func (d *door) send(client *http.Client, addr string, i int) int {
	method, path, header, body := d.make(i)
	req, err := http.NewRequest(method, "http://"+addr+path, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.Host = "127.0.0.1:8080"
	if header != nil {
		req.Header = header
	}
	req.Header.Set("X-Forwarded-For", fmt.Sprintf("100.%d.%d.%d", 64+i>>16&63, i>>8&255, i&255))
	resp, err := client.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// A crowd is agents with documents: attackers, and a few who are honest.
type crowd struct {
	t         testing.TB
	companion string
	site      string
	strangers []*athclient.Identity
	honest    []*athclient.Identity
	known     string // a client_id
	n         atomic.Int64
}

const public = "http://127.0.0.1:8080"

var floodAdmin = rand.Text() + rand.Text()

func newCrowd(t testing.TB, companion string) *crowd {
	t.Helper()
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	c := &crowd{t: t, companion: companion, site: srv.URL}
	publish := func(path string) *athclient.Identity {
		a, _ := identity.New(t, srv.URL+path, "An agent")
		mux.Handle(path, a)
		return a
	}
	for i := range 32 {
		c.strangers = append(c.strangers, publish("/crowd/"+strconv.Itoa(i)))
	}
	for i := range 256 {
		c.honest = append(c.honest, publish("/honest/"+strconv.Itoa(i)))
	}
	client := &http.Client{}
	reply, err := c.register(client, c.honest[255])
	if err != nil {
		t.Fatal(err)
	}
	c.known = reply.ClientID
	return c
}

type registered struct {
	ClientID string `json:"client_id"`
	Status   string `json:"agent_status"`
}

func (c *crowd) attest(a *athclient.Identity, audience string) string {
	signed, err := a.Attest(audience, time.Now())
	if err != nil {
		c.t.Error(err)
	}
	return signed.Reveal()
}

func (c *crowd) register(client *http.Client, a *athclient.Identity) (out registered, err error) {
	err = c.call(client, "POST", "/ath/agents/register", map[string]any{
		"agent_id": a.ID(), "agent_attestation": c.attest(a, public), "developer": map[string]string{"name": "x", "id": "x"},
		"requested_providers": []any{map[string]any{"provider_id": "shop", "scopes": []string{"products:read"}}},
		"redirect_uris":       []string{public + "/ath/callback"},
	}, &out)
	return out, err
}

func (c *crowd) call(client *http.Client, method, path string, body, out any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(method, "http://"+c.companion+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Host = "127.0.0.1:8080"
	req.Header.Set("X-Forwarded-For", "192.0.2.7")
	if strings.HasPrefix(path, "/ath/admin") {
		req.Header.Set("X-ATH-User-Token", floodAdmin)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %d %.300s", method, path, resp.StatusCode, reply)
	}
	return json.Unmarshal(reply, out)
}

// handshake is what an honest agent does: it registers and asks for an
// authorization.
func (c *crowd) handshake(client *http.Client) error {
	a := c.honest[int(c.n.Add(1))%200]
	out, err := c.register(client, a)
	if err != nil && strings.Contains(err.Error(), " 409 ") {
		return nil
	}
	if err != nil {
		return err
	}
	var link struct {
		URL string `json:"authorization_url"`
	}
	return c.call(client, "POST", "/ath/authorize", map[string]any{
		"client_id": out.ClientID, "agent_attestation": c.attest(a, public), "provider_id": "shop", "scopes": []string{"products:read"}, "state": "s",
	}, &link)
}

// revoke is what an operator does: one agent is suspended and resumed.
func (c *crowd) revoke(client *http.Client) error {
	var out any
	path := "/ath/admin/agents/" + c.known
	if err := c.call(client, "POST", path+"/suspend", struct{}{}, &out); err != nil {
		return err
	}
	return c.call(client, "POST", path+"/resume", struct{}{}, &out)
}

// doors are the companion's, each with the dearest requests that are known for
// it.
func (c *crowd) doors() []door {
	post := func(path, media string, body func(i int) string) func(int) (string, string, http.Header, string) {
		return func(i int) (string, string, http.Header, string) {
			return "POST", path, http.Header{"Content-Type": {media}}, body(i)
		}
	}
	const j, form, most = "application/json", "application/x-www-form-urlencoded", 64 << 10
	fixed := func(s string) func(int) string { return func(int) string { return s[:min(len(s), most)] } }
	text := func(v any) string {
		out, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return string(out)
	}
	stranger := func(i int) *athclient.Identity { return c.strangers[i%len(c.strangers)] }
	scopes := func(n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf("scope:%s%03d", strings.Repeat("x", 100), i))
		}
		return out
	}
	registration := func(a *athclient.Identity, attestation string) string {
		return text(map[string]any{
			"agent_id": a.ID(), "agent_attestation": attestation, "developer": map[string]string{"name": "x", "id": "x"},
			"requested_providers": []any{map[string]any{"provider_id": "shop", "scopes": append(scopes(198), "products:read")}},
			"purpose":             strings.Repeat("p", 512),
		})
	}
	broken := func(s string) string { return s[:len(s)-8] + "AAAAAAAA" }
	many := func(item string) string { return strings.Repeat(item+",", most/(len(item)+1)-40) }
	lists := func(head, item, tail string) string { s := many(item); return head + s[:len(s)-1] + tail }
	names := func(n, width int, more ...string) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`"%0*d%s":1`, width, i, strings.Join(more, "")))
		}
		return "{" + strings.Join(all, ",") + "}"
	}
	cookies := func() http.Header {
		var all []string
		for i := range 300 {
			all = append(all, fmt.Sprintf("athd_%d=%s.a.%s", i, strings.Repeat("n", 22), strings.Repeat("m", 43)))
		}
		return http.Header{"Cookie": {strings.Join(all, "; ")}}
	}
	state := func() string { return ath.NewState(ath.NewTag()).Secret().Reveal() }
	get := func(path func() string, header func() http.Header) func(int) (string, string, http.Header, string) {
		return func(int) (string, string, http.Header, string) { return "GET", path(), header(), "" }
	}
	none := func() http.Header { return http.Header{} }
	guess := func() http.Header { return http.Header{"X-Ath-User-Token": {rand.Text() + rand.Text()}} }
	session := ath.NewSessionID().Secret().Reveal()
	token := func(attestation string) string {
		return text(map[string]any{"grant_type": "authorization_code", "client_id": c.known, "client_secret": "ath_secret_x",
			"agent_attestation": attestation, "code": "ath_code_x", "ath_session_id": session})
	}
	authorization := func(attestation string) string {
		return text(map[string]any{"client_id": c.known, "agent_attestation": attestation, "provider_id": "shop", "scopes": scopes(200), "state": "s"})
	}
	return []door{
		{"register: 199 scopes, attestation x.y.z", post("/ath/agents/register", j, func(i int) string { return registration(stranger(i), "x.y.z") })},
		{"register: 10,000 scopes", post("/ath/agents/register", j, fixed(lists(`{"agent_id":"https://a.example/x","agent_attestation":"x.y.z","developer":{"name":"a","id":"b"},"requested_providers":[{"provider_id":"shop","scopes":[`, `"abc"`, `]}]}`)))},
		{"register: nested arrays", post("/ath/agents/register", j, fixed(strings.Repeat("[", 9000)+strings.Repeat("]", 9000)))},
		{"register: unknown members, nested", post("/ath/agents/register", j, fixed(lists(`{"x":[`, `{"a":[{}]}`, `]}`)))},
		{"register: one member again and again", post("/ath/agents/register", j, fixed(lists(`{`, `"redirect_uris":["a"]`, `}`)))},
		{"register: 13,000 empty providers", post("/ath/agents/register", j, fixed(lists(`{"requested_providers":[`, `{}`, `]}`)))},
		{"register: escapes", post("/ath/agents/register", j, fixed(`{"agent_id":"`+strings.Repeat(`\u0041`, 10000)+`"}`))},
		{"register: 1,000 long names", post("/ath/agents/register", j, fixed(names(1000, 56)))},
		{"register: 1,000 names of escapes", post("/ath/agents/register", j, fixed(names(1000, 0, `\u0041\u0041\u0041\u0041`)))},
		{"register: a long text, not ASCII", post("/ath/agents/register", j, fixed(`{"purpose":"`+strings.Repeat("é", 30000)+`"}`))},
		{"register: signature invalid", post("/ath/agents/register", j, func(i int) string { return registration(stranger(i), broken(c.attest(stranger(i), public))) })},
		{"register: signature valid", post("/ath/agents/register", j, func(i int) string { return registration(stranger(i), c.attest(stranger(i), public)) })},
		{"authorize: signature invalid", post("/ath/authorize", j, func(int) string { return authorization(broken(c.attest(c.honest[255], public))) })},
		{"authorize: signature valid, of another agent", post("/ath/authorize", j, func(i int) string { return authorization(c.attest(stranger(i), public)) })},
		{"token: wrong secret", post("/ath/token", j, func(int) string { return token("x.y.z") })},
		{"token: a form of 30,000 fields", post("/ath/token", form, fixed(strings.Repeat("a&", 30000)))},
		{"token: a form of escapes", post("/ath/token", form, fixed("code="+strings.Repeat("%41", 20000)))},
		{"revoke: of nobody", post("/ath/revoke", j, func(int) string {
			return text(map[string]string{"client_id": c.known, "client_secret": "x", "token": "ath_tk_x"})
		})},
		{"revoke: 13,000 empty objects", post("/ath/revoke", j, fixed(lists(`{"x":[`, `{}`, `]}`)))},
		{"start: unknown state, 300 cookies", get(func() string { return "/ath/consent/start?state=" + state() }, cookies)},
		{"callback: unknown state, long query", get(func() string {
			return "/ath/callback?state=" + state() + "&code=" + strings.Repeat("c", 8000) + strings.Repeat("&a", 4000)
		}, cookies)},
		{"decide: unknown state", post("/ath/consent/decide", form, func(int) string {
			return url.Values{"state": {state()}}.Encode() + strings.Repeat("&a", 3500)
		})},
		{"done: unknown state", get(func() string { return "/ath/consent/done?state=" + state() }, cookies)},
		{"own registration: wrong secret", func(int) (string, string, http.Header, string) {
			h := http.Header{}
			h.Set("Authorization", "Basic "+strings.Repeat("QUFB", 4000))
			return "GET", "/ath/agents/" + c.known, h, ""
		}},
		{"own registration: removed by a stranger", func(i int) (string, string, http.Header, string) {
			return "DELETE", "/ath/agents/" + c.known, http.Header{"Authorization": {"Bearer " + c.attest(stranger(i), public)}}, ""
		}},
		{"admin: wrong token, 64 KiB", func(int) (string, string, http.Header, string) {
			return "POST", "/ath/admin/agents/" + c.known + "/approve", guess(), fixed(lists(`{"providers":[`, `{}`, `]}`))(0)
		}},
		{"admin: a list", get(func() string { return "/ath/admin/agents?limit=1000" }, guess)},
		{"discovery", get(func() string { return "/.well-known/ath.json" }, none)},
		{"nothing there", func(int) (string, string, http.Header, string) {
			return "PUT", "/" + strings.Repeat("x", 4000), http.Header{}, fixed(many("x"))(0)
		}},
	}
}
