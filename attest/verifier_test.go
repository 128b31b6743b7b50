package attest_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/attest"
)

const audience = "https://gw.example"

// An agentHost is an agent with the host of its identity document, and the
// verifier that looks at it.
type agentHost struct {
	t    testing.TB
	id   ath.AgentID
	key  *ecdsa.PrivateKey
	hits atomic.Int32
	// serve answers in place of the document, if it is set.
	serve atomic.Pointer[http.HandlerFunc]

	mu        sync.Mutex
	published *ecdsa.PublicKey
	now       time.Time
	once      map[string]time.Duration // what was recorded, and for how long
	onceErr   error

	config   attest.Config
	verifier *attest.Verifier
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAgentHost(t testing.TB, edit func(*attest.Config)) *agentHost {
	t.Helper()
	h := &agentHost{t: t, key: newKey(t), now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), once: map[string]time.Duration{}}
	h.published = &h.key.PublicKey
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.hits.Add(1)
		if serve := h.serve.Load(); serve != nil {
			(*serve)(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain") // whatever its media type says
		w.Write(h.document())
	}))
	t.Cleanup(server.Close)
	h.id = h.parseID(server.URL + "/agent.json")
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	h.config = attest.Config{AllowPrivateHosts: true, InsecureTestingOnlyRootCAs: roots, Now: h.clock, Once: h.recordOnce}
	if edit != nil {
		edit(&h.config)
	}
	h.verifier = h.replica()
	return h
}

// replica returns another verifier on the same records.
func (h *agentHost) replica() *attest.Verifier {
	v, err := attest.New(h.config)
	if err != nil {
		h.t.Fatal(err)
	}
	return v
}

func (h *agentHost) parseID(s string) ath.AgentID {
	id, err := ath.ParseAgentID(s, true)
	if err != nil {
		h.t.Fatal(err)
	}
	return id
}

func (h *agentHost) clock() time.Time { h.mu.Lock(); defer h.mu.Unlock(); return h.now }

func (h *agentHost) pass(d time.Duration) { h.mu.Lock(); defer h.mu.Unlock(); h.now = h.now.Add(d) }

func (h *agentHost) publish(key *ecdsa.PrivateKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.published = &key.PublicKey
}

// recordOnce does not age by itself: pass a minute with forget.
func (h *agentHost) recordOnce(_ context.Context, agent ath.AgentID, what, value string, ttl time.Duration) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.onceErr != nil {
		return false, h.onceErr
	}
	name := agent.String() + " " + what + " " + value
	if _, used := h.once[name]; used {
		return false, nil
	}
	h.once[name] = ttl
	return true, nil
}

func (h *agentHost) forget() { h.mu.Lock(); defer h.mu.Unlock(); clear(h.once) }

func (h *agentHost) recorded(what string) (ttls []time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, ttl := range h.once {
		if strings.Contains(name, " "+what+" ") {
			ttls = append(ttls, ttl)
		}
	}
	return ttls
}

func (h *agentHost) document() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	b, _ := h.published.Bytes()
	e := base64.RawURLEncoding.EncodeToString
	doc, _ := json.Marshal(map[string]any{
		"agent_id": h.id.String(), "ath_version": "0.1", "name": "Shopper", "developer": map[string]any{"name": "Dev", "id": "dev-1"},
		"public_key": map[string]any{"kty": "EC", "crv": "P-256", "x": e(b[1:33]), "y": e(b[33:])},
	})
	return doc
}

// attestation signs what clients in the field send, with these claims changed;
// nil removes one. "alg", "typ", "kid" and their like change the header.
func (h *agentHost) attestation(key *ecdsa.PrivateKey, edit map[string]any) string {
	now := h.clock()
	claims := jwt.MapClaims{
		"iss": h.id.String(), "sub": h.id.String(), "aud": audience, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "jti": rand.Text(),
	}
	token := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	token.Header["kid"] = "key-1"
	for name, value := range edit {
		in := map[string]any(claims)
		if slices.Contains([]string{"alg", "typ", "kid", "crit", "b64", "jwk", "jku", "cty"}, name) {
			in = token.Header
		}
		if in[name] = value; value == nil {
			delete(in, name)
		}
	}
	compact, err := token.SignedString(key)
	if err != nil {
		h.t.Fatal(err)
	}
	return compact
}

func (h *agentHost) verify(compact string) (*attest.Identity, error) {
	return h.verifier.Verify(context.Background(), compact, attest.Expect{Agent: h.id, Audiences: []string{audience, audience + "/"}})
}

// reasonOf returns "" for success, the reason of a refusal, or "other".
func reasonOf(err error) attest.Reason {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*attest.Error](err); ok {
		return e.Reason
	}
	return "other"
}

// proves: A-1
func TestAttestationClaimsAreChecked(t *testing.T) {
	at := func(d time.Duration) int64 { return time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC).Add(d).Unix() }
	for _, tt := range []struct {
		name string
		edit map[string]any
		want attest.Reason
	}{
		{"what clients in the field send", nil, ""},
		{"another algorithm", map[string]any{"alg": "RS256"}, attest.Algorithm},
		{"no signature", map[string]any{"alg": "none"}, attest.Algorithm},
		{"a MAC", map[string]any{"alg": "HS256"}, attest.Algorithm},
		{"an algorithm that nobody knows", map[string]any{"alg": "ES256x"}, attest.Algorithm},
		{"no algorithm", map[string]any{"alg": nil}, attest.Algorithm},
		{"algorithm is no text", map[string]any{"alg": 256}, attest.Algorithm},
		{"typ in lower case", map[string]any{"typ": "jwt"}, ""},
		{"another typ", map[string]any{"typ": "at+jwt"}, attest.Malformed},
		{"no typ", map[string]any{"typ": nil}, ""},                          // F-24
		{"neither typ nor kid", map[string]any{"typ": nil, "kid": nil}, ""}, // F-24
		{"typ as a media type", map[string]any{"typ": "application/jwt"}, ""},
		{"typ as a media type in capitals", map[string]any{"typ": "Application/JWT"}, ""},
		{"typ of another tree", map[string]any{"typ": "text/jwt"}, attest.Malformed},
		{"typ that only ends so", map[string]any{"typ": "application/at+jwt"}, attest.Malformed},
		{"typ with the tree twice", map[string]any{"typ": "application/application/jwt"}, attest.Malformed},
		{"typ is the tree only", map[string]any{"typ": "application/"}, attest.Malformed},
		{"typ is JOSE", map[string]any{"typ": "JOSE"}, attest.Malformed},
		{"typ in letters that fold to it", map[string]any{"typ": "\uff2aWT"}, attest.Malformed},
		{"typ with a space", map[string]any{"typ": "JWT "}, attest.Malformed},
		{"empty typ", map[string]any{"typ": ""}, attest.Malformed},
		{"typ is a number", map[string]any{"typ": 1}, attest.Malformed},
		{"typ is null", map[string]any{"typ": json.RawMessage("null")}, attest.Malformed},
		{"no kid", map[string]any{"kid": nil}, ""},
		{"kid is a number", map[string]any{"kid": 1}, attest.Malformed},
		{"kid is null", map[string]any{"kid": json.RawMessage("null")}, attest.Malformed},
		{"empty kid", map[string]any{"kid": ""}, attest.Malformed},
		{"long kid", map[string]any{"kid": strings.Repeat("k", 257)}, attest.Malformed},
		{"crit", map[string]any{"crit": []string{"b64"}}, attest.Malformed},
		{"empty crit", map[string]any{"crit": []string{}}, attest.Malformed},
		{"crit is null", map[string]any{"crit": json.RawMessage("null")}, attest.Malformed},
		{"b64", map[string]any{"b64": false, "crit": []string{"b64"}}, attest.Malformed},
		{"b64 without crit", map[string]any{"b64": false}, attest.Malformed},
		{"b64 that changes nothing", map[string]any{"b64": true}, attest.Malformed},
		{"members that must not be understood", map[string]any{"jku": "https://evil.example/keys", "cty": "x"}, ""},

		{"A-2: iss is the origin", map[string]any{"iss": "ORIGIN"}, ""},
		{"A-2: iss is somebody else", map[string]any{"iss": "https://evil.example"}, attest.Issuer},
		{"A-2: iss is the origin and a slash", map[string]any{"iss": "ORIGIN/"}, attest.Issuer},
		{"A-2: no iss", map[string]any{"iss": nil}, attest.Malformed},
		{"A-2: sub is another agent", map[string]any{"sub": "https://other.example/a"}, attest.Subject},
		{"A-2: sub and iss are another agent", map[string]any{"sub": "https://other.example/a", "iss": "https://other.example/a"}, attest.Subject},
		{"A-2: sub and iss's origin are another agent", map[string]any{"sub": "https://other.example/a", "iss": "https://other.example"}, attest.Subject},
		{"A-2: sub is no URL", map[string]any{"sub": "x"}, attest.Subject},
		{"A-2: no sub", map[string]any{"sub": nil}, attest.Malformed},
		{"A-2: sub is a list", map[string]any{"sub": []string{"x"}}, attest.Malformed},

		{"A-3: the base with a slash", map[string]any{"aud": audience + "/"}, ""},
		{"A-3: a list that holds it", map[string]any{"aud": []string{"x", audience}}, ""},
		{"A-3: a longer URL", map[string]any{"aud": audience + "/x"}, attest.Audience},
		{"A-3: other case", map[string]any{"aud": strings.ToUpper(audience)}, attest.Audience},
		{"A-3: a list without it", map[string]any{"aud": []string{"x"}}, attest.Audience},
		{"A-3: an empty list", map[string]any{"aud": []string{}}, attest.Audience},
		{"A-3: empty", map[string]any{"aud": ""}, attest.Audience},
		{"A-3: a list with a number", map[string]any{"aud": []any{audience, 1}}, attest.Malformed},
		{"A-3: no aud", map[string]any{"aud": nil}, attest.Malformed},

		{"A-4: exp 29 s ago", map[string]any{"iat": at(-time.Minute), "exp": at(-29 * time.Second)}, ""},
		{"A-4: exp 30 s ago", map[string]any{"iat": at(-time.Minute), "exp": at(-30 * time.Second)}, attest.Expired},
		{"A-4: no exp", map[string]any{"exp": nil}, attest.Malformed},
		{"A-4: exp is text", map[string]any{"exp": "soon"}, attest.Malformed},
		{"A-4: exp is beyond all time", map[string]any{"exp": 1e30}, attest.Malformed},
		{"A-4: iat 5 min ago", map[string]any{"iat": at(-5 * time.Minute), "exp": at(time.Minute)}, ""},
		{"A-4: iat 5 min 1 s ago", map[string]any{"iat": at(-5*time.Minute - time.Second), "exp": at(time.Minute)}, attest.Times},
		{"A-4: iat 5 min ahead", map[string]any{"iat": at(5 * time.Minute), "exp": at(time.Hour)}, ""},
		{"A-4: iat 5 min 1 s ahead", map[string]any{"iat": at(5*time.Minute + time.Second), "exp": at(time.Hour)}, attest.Times},
		{"A-4: iat is negative", map[string]any{"iat": -1}, attest.Malformed},
		{"A-4: no iat", map[string]any{"iat": nil}, attest.Malformed},
		{"A-4: a life of 61 min", map[string]any{"exp": at(61 * time.Minute)}, ""},
		{"A-4: a life of 61 min 1 s", map[string]any{"exp": at(61*time.Minute + time.Second)}, attest.Times},
		{"A-4: with fractions of a second", map[string]any{"iat": float64(at(0)) + 0.5, "exp": float64(at(time.Minute)) + 0.25}, ""},
		{"nbf past", map[string]any{"nbf": at(0)}, ""},
		{"nbf ahead", map[string]any{"nbf": at(time.Minute)}, attest.Times},
		{"nbf is text", map[string]any{"nbf": "x"}, attest.Malformed},

		{"A-5: no jti", map[string]any{"jti": nil}, attest.Malformed},
		{"A-5: empty jti", map[string]any{"jti": ""}, attest.Malformed},
		{"A-5: jti of 256 bytes", map[string]any{"jti": strings.Repeat("j", 256)}, ""},
		{"A-5: jti of 257 bytes", map[string]any{"jti": strings.Repeat("j", 257)}, attest.Malformed},
		{"A-5: jti is a number", map[string]any{"jti": 5}, attest.Malformed},
		{"larger than 8 KiB", map[string]any{"x": strings.Repeat("x", 8<<10)}, attest.Malformed},
	} {
		for _, skip := range []bool{false, true} {
			name := tt.name
			if skip {
				name = "A-8: " + name
			}
			t.Run(name, func(t *testing.T) {
				h := newAgentHost(t, func(c *attest.Config) { c.SkipVerification = skip })
				edit := map[string]any{}
				for k, v := range tt.edit {
					if s, ok := v.(string); ok {
						v = strings.Replace(s, "ORIGIN", h.id.Origin(), 1)
					}
					edit[k] = v
				}
				identity, err := h.verify(h.attestation(h.key, edit))
				if got := reasonOf(err); got != tt.want {
					t.Fatalf("got %q (%v), want %q", got, err, tt.want)
				}
				if (err == nil) != (identity != nil) {
					t.Error("an identity and an error, or neither")
				}
				if spent := len(h.recorded("jti")); spent != map[bool]int{true: 1}[err == nil] {
					t.Errorf("A-5: %d jti were spent", spent)
				}
				wantFetch := !skip && (tt.want == "" || tt.want == attest.Subject)
				if got := h.hits.Load(); (got > 0) != wantFetch {
					t.Errorf("the document was fetched %d times", got)
				}
				if e, ok := errors.AsType[*attest.Error](err); ok && (e.Reason == attest.Audience) != (len(e.Expected) == 2) {
					t.Errorf("A-3: expected audiences: %q", e.Expected)
				}
			})
		}
	}
}

func TestAttestationMustBeACompactJWS(t *testing.T) {
	h := newAgentHost(t, nil)
	good := h.attestation(h.key, nil)
	parts := strings.Split(good, ".")
	e := base64.RawURLEncoding.EncodeToString
	for name, compact := range map[string]string{
		"empty": "", "one part": "x", "two parts": parts[0] + "." + parts[1], "four parts": good + ".x", "dots": "..", "padding": parts[0] + "=." + parts[1] + "." + parts[2],
		"a space": " " + good, "a line break": good + "\n", "a line break within": good[:9] + "\r" + good[9:], "header is no JSON": e([]byte("x")) + "." + parts[1] + "." + parts[2],
		"claims are no object": parts[0] + "." + e([]byte("[]")) + "." + parts[2], "claims are null": parts[0] + "." + e([]byte("null")) + "." + parts[2],
		"header is a list": e([]byte("[]")) + "." + parts[1] + "." + parts[2], "two headers": e([]byte(`{"alg":"ES256"}{}`)) + "." + parts[1] + "." + parts[2],
		"header is null": e([]byte("null")) + "." + parts[1] + "." + parts[2], "JSON serialization": `{"payload":"x"}`,
	} {
		if _, err := h.verify(compact); reasonOf(err) != attest.Malformed && reasonOf(err) != attest.Algorithm {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if h.hits.Load() != 0 || len(h.recorded("")) != 0 {
		t.Error("something malformed led to a fetch or to a record")
	}
	if _, err := h.verify(good); err != nil {
		t.Error(err)
	}
}

// What two readers could read otherwise is refused, though well signed.
// F-24
func TestMembersStandOnce(t *testing.T) {
	h := newAgentHost(t, nil)
	claims := func(more string) string {
		now := h.clock().Unix()
		return fmt.Sprintf(`{"iss":%q,"sub":%q,"aud":%q,"iat":%d,"exp":%d,"jti":%q%s}`, h.id, h.id, audience, now, now+3600, rand.Text(), more)
	}
	sign := func(header, payload string) string {
		e := base64.RawURLEncoding.EncodeToString
		signed := e([]byte(header)) + "." + e([]byte(payload))
		signature, err := jwt.SigningMethodES256.Sign(signed, h.key)
		if err != nil {
			t.Fatal(err)
		}
		return signed + "." + e(signature)
	}
	for _, tt := range []struct {
		name, header, more string
		want               attest.Reason
	}{
		{"as jose signs it", `{"alg":"ES256"}`, "", ""},
		{"spaces around", "{ \"alg\" : \"ES256\" }\n", "", ""},
		{"alg twice", `{"alg":"none","alg":"ES256"}`, "", attest.Malformed},
		{"alg twice, the same", `{"alg":"ES256","alg":"ES256"}`, "", attest.Malformed},
		{"alg twice, once escaped", `{"alg":"ES256","\u0061lg":"ES256"}`, "", attest.Malformed},
		{"alg in capitals only", `{"ALG":"ES256"}`, "", attest.Algorithm},
		{"typ twice", `{"alg":"ES256","typ":"at+jwt","typ":"JWT"}`, "", attest.Malformed},
		{"alg in lower case", `{"alg":"es256"}`, "", attest.Algorithm},
		{"something after the header", `{"alg":"ES256"} {}`, "", attest.Malformed},
		{"sub twice", `{"alg":"ES256"}`, `,"sub":"` + h.id.String() + `"`, attest.Malformed},
		{"a member within a member twice", `{"alg":"ES256"}`, `,"x":{"y":1,"y":1}`, attest.Malformed},
		{"something after the claims", `{"alg":"ES256"}`, `}{"x":1`, attest.Malformed},
		{"levels without end", `{"alg":"ES256"}`, `,"x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40), attest.Malformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := h.verify(sign(tt.header, claims(tt.more))); reasonOf(err) != tt.want {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestSignature(t *testing.T) {
	t.Run("A-1: by the published key", func(t *testing.T) {
		h := newAgentHost(t, nil)
		identity, err := h.verify(h.attestation(h.key, nil))
		if err != nil || *identity != (attest.Identity{Name: "Shopper", Developer: attest.Developer{Name: "Dev", ID: "dev-1"}}) {
			t.Errorf("got %+v, %v", identity, err)
		}
	})
	t.Run("A-1, A-5: by another key, or changed", func(t *testing.T) {
		h := newAgentHost(t, nil)
		good := h.attestation(h.key, nil)
		parts := strings.Split(good, ".")
		for name, compact := range map[string]string{
			"another key":    h.attestation(newKey(t), nil),
			"another claim":  parts[0] + "." + strings.Split(h.attestation(h.key, nil), ".")[1] + "." + parts[2],
			"empty":          parts[0] + "." + parts[1] + ".",
			"short":          parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 63)),
			"zero":           parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64)),
			"sub is another": h.attestation(newKey(t), map[string]any{"sub": "https://other.example/a"}),
		} {
			if _, err := h.verify(compact); reasonOf(err) != attest.Signature {
				t.Errorf("%s: got %v", name, err)
			}
		}
		if len(h.recorded("jti")) != 0 {
			t.Error("A-5: a jti was spent before the signature held")
		}
	})
	t.Run("A-8: skipped, and nothing is known of the agent", func(t *testing.T) {
		h := newAgentHost(t, func(c *attest.Config) { c.SkipVerification = true })
		identity, err := h.verify(h.attestation(newKey(t), nil))
		if err != nil || *identity != (attest.Identity{}) || h.hits.Load() != 0 {
			t.Errorf("got %+v, %v after %d fetches", identity, err, h.hits.Load())
		}
	})
}

func TestAttestationCountsOnce(t *testing.T) {
	for _, skip := range []bool{false, true} {
		h := newAgentHost(t, func(c *attest.Config) { c.SkipVerification = skip })
		compact := h.attestation(h.key, nil)
		var wins atomic.Int32
		var wg sync.WaitGroup
		verifiers := []*attest.Verifier{h.verifier, h.replica()}
		for i := range 32 {
			wg.Go(func() {
				_, err := verifiers[i%2].Verify(t.Context(), compact, attest.Expect{Agent: h.id, Audiences: []string{audience}})
				if err == nil {
					wins.Add(1)
				} else if reasonOf(err) != attest.Replay {
					t.Errorf("got %v", err)
				}
			})
		}
		wg.Wait()
		if wins.Load() != 1 {
			t.Errorf("A-5: accepted %d times (skip %v)", wins.Load(), skip)
		}
	}
	t.Run("A-5: a jti is remembered until no clock that is 5 minutes off would accept it", func(t *testing.T) {
		for _, tt := range []struct {
			iat, exp, want time.Duration
		}{
			{0, time.Hour, 10 * time.Minute}, {5 * time.Minute, time.Hour, 15 * time.Minute}, {-5 * time.Minute, time.Hour - 5*time.Minute, 5 * time.Minute}, {0, time.Minute, 6*time.Minute + 30*time.Second},
		} {
			h := newAgentHost(t, nil)
			if _, err := h.verify(h.attestation(h.key, map[string]any{"iat": h.now.Add(tt.iat).Unix(), "exp": h.now.Add(tt.exp).Unix()})); err != nil {
				t.Fatal(err)
			}
			if got := h.recorded("jti"); len(got) != 1 || got[0] != tt.want {
				t.Errorf("iat %v, exp %v: got %v, want %v", tt.iat, tt.exp, got, tt.want)
			}
		}
	})
	t.Run("A-5: the store is away", func(t *testing.T) {
		h := newAgentHost(t, nil)
		h.onceErr = errors.New("away")
		identity, err := h.verify(h.attestation(h.key, nil))
		if identity != nil || !errors.Is(err, h.onceErr) || reasonOf(err) != "other" {
			t.Errorf("got %v, %v", identity, err)
		}
	})
}

func TestVerifierNeedsItsParts(t *testing.T) {
	if v, err := attest.New(attest.Config{}); err == nil || v != nil {
		t.Error("A-5: a verifier without Once")
	}
	h := newAgentHost(t, nil)
	if _, err := h.verifier.Verify(t.Context(), h.attestation(h.key, nil), attest.Expect{Audiences: []string{audience}}); err == nil {
		t.Error("an attestation of nobody was accepted")
	}
	if _, err := h.verifier.Verify(t.Context(), h.attestation(h.key, map[string]any{"aud": ""}), attest.Expect{Agent: h.id, Audiences: []string{""}}); reasonOf(err) != attest.Audience {
		t.Errorf("A-3: an empty audience was accepted: %v", err)
	}
}

func FuzzVerify(f *testing.F) {
	h := newAgentHost(f, func(c *attest.Config) { c.SkipVerification = true })
	f.Add(h.attestation(h.key, nil))
	f.Add(h.attestation(h.key, map[string]any{"aud": []any{1}, "exp": 1e300}))
	f.Add(fmt.Sprintf("%s..", base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256"}`))))
	f.Fuzz(func(t *testing.T, compact string) {
		h.forget()
		identity, err := h.verify(compact)
		if (err == nil) == (identity == nil) || err != nil && reasonOf(err) == "other" {
			t.Errorf("got %v, %v", identity, err)
		}
		if err == nil && (len(compact) > 8<<10 || strings.Count(compact, ".") != 2 || len(h.recorded("jti")) != 1) {
			t.Error("accepted what should not be")
		}
	})
}
