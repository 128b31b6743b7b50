package attest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
)

const exampleID = "https://agent.example/.well-known/agent.json"

func exampleAgent(t testing.TB) ath.AgentID {
	agent, err := ath.ParseAgentID(exampleID, false)
	if err != nil {
		t.Fatal(err)
	}
	return agent
}

// jwkOf writes a public key as a JWK with these further members.
func jwkOf(key *ecdsa.PublicKey, more string) string {
	b, _ := key.Bytes()
	n := (len(b) - 1) / 2
	e := base64.RawURLEncoding.EncodeToString
	return fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":"%s","y":"%s"%s}`, e(b[1:1+n]), e(b[1+n:]), more)
}

func pemOf(t testing.TB, kind string, key any) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	quoted, _ := json.Marshal(string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
	return string(quoted)
}

func documentWith(key string) string {
	return `{"agent_id":"` + exampleID + `","ath_version":"0.1","name":"Shopper","developer":{"name":"Dev","id":"dev-1"},"public_key":` + key + `}`
}

func TestDocuments(t *testing.T) {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	other, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	good := documentWith(jwkOf(&key.PublicKey, ""))
	with := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	zero := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	for _, tt := range []struct{ name, in, fault string }{
		{"JWK", good, ""},
		{"JWK with more members", documentWith(jwkOf(&key.PublicKey, `,"kid":"1","use":"sig","alg":"ES256","key_ops":["verify"]`)), ""},
		{"PEM", documentWith(pemOf(t, "PUBLIC KEY", &key.PublicKey)), ""},
		{"members that we do not know", with(`{`, `{"extra":[{"a":1},{"a":1}],"s":"x",`), ""},
		{"empty", "", "not JSON"},
		{"null", "null", "not a JSON object"},
		{"list", "[]", "not a JSON object"},
		{"text", `"x"`, "not a JSON object"},
		{"something after it", good + "{}", "not JSON"},
		{"cut off", good[:len(good)-1], "not JSON"},
		{"too deep", with(`{`, `{"x":`+strings.Repeat("[", 20)+strings.Repeat("]", 20)+`,`), "too many levels"},
		{"too many members", with(`{`, `{"x":{`+many(1024)+`},`), "too many members"},
		{"too many members, with none twice in one object", with(`{`, `{"x":[`+strings.Repeat(`{"a":1},`, 1024)+`1],`), "too many members"},
		{"not UTF-8", with(`{`, "{\"x\":\"\xff\","), "not JSON"},
		{"member twice", with(`{`, `{"name":"x",`), "member twice"},
		{"member twice, deep", with(`"name":"Dev"`, `"name":"Dev","name":"Dev"`), "member twice"},
		{"member twice, written otherwise", with(`{`, `{"n\u0061me":"x",`), "member twice"},
		{"another agent_id", with(exampleID, exampleID+"/"), "another agent_id"},
		{"agent_id with another escape", with("agent.json", "%61gent.json"), "another agent_id"},
		{"no agent_id", with(`"agent_id"`, `"agentid"`), "agent_id is missing"},
		{"agent_id in other case", with(`"agent_id"`, `"Agent_ID"`), "agent_id is missing"},
		{"no version", with(`"ath_version":"0.1",`, ``), "ath_version is missing"},
		{"version is a number", with(`"0.1"`, `0.1`), "ath_version is missing"},
		{"no name", with(`"name":"Shopper",`, ``), "name is missing"},
		{"blank name", with(`Shopper`, ` `), "name is missing"},
		{"long name", with(`Shopper`, strings.Repeat("x", 201)), "too long"},
		{"line break in the name", with(`Shopper`, `a\nb`), "control characters"},
		{"name that turns the direction", with(`Shopper`, `a\u202eb`), "control characters"},
		{"no developer", with(`"developer"`, `"dev"`), "developer is missing"},
		{"developer is text", with(`{"name":"Dev","id":"dev-1"}`, `"Dev"`), "developer is missing"},
		{"developer is null", with(`{"name":"Dev","id":"dev-1"}`, `null`), "developer is missing"},
		{"developer without a name", with(`"name":"Dev",`, ``), "developer: name is missing"},
		{"developer without an id", with(`,"id":"dev-1"`, ``), "developer: id is missing"},
		{"no key", with(`"public_key"`, `"key"`), "neither a JWK nor a PEM"},
		{"key is null", documentWith("null"), "neither a JWK nor a PEM"},
		{"key is empty", documentWith(`""`), "neither a JWK nor a PEM"},
		{"key is a list", documentWith(`[]`), "neither a JWK nor a PEM"},
		{"private JWK", documentWith(jwkOf(&key.PublicKey, `,"d":"x"`)), "private key"},
		{"JWK with null d", documentWith(jwkOf(&key.PublicKey, `,"d":null`)), "private key"},
		{"JWK for encryption", documentWith(jwkOf(&key.PublicKey, `,"use":"enc"`)), "use of the JWK"},
		{"JWK for ES384", documentWith(jwkOf(&key.PublicKey, `,"alg":"ES384"`)), "alg of the JWK"},
		{"JWK of another type", with(`"EC"`, `"RSA"`), "kty of the JWK"},
		{"JWK of another curve", with(`"P-256"`, `"P-384"`), "crv of the JWK"},
		{"JWK without a curve", with(`"crv":"P-256",`, ``), "crv of the JWK"},
		{"P-384 point under the name of P-256", documentWith(jwkOf(&other.PublicKey, "")), "32 bytes"},
		{"JWK without y", with(`"y"`, `"z"`), "y of the JWK"},
		{"padded coordinate", with(`","y"`, `=","y"`), "x of the JWK"},
		{"point off the curve", documentWith(`{"kty":"EC","crv":"P-256","x":"` + zero + `","y":"` + zero + `"}`), "not on the curve"},
		{"PEM P-384", documentWith(pemOf(t, "PUBLIC KEY", &other.PublicKey)), "not a P-256 key"},
		{"PEM RSA", documentWith(pemOf(t, "PUBLIC KEY", &rsaKey.PublicKey)), "not a P-256 key"},
		{"PEM of another kind", documentWith(pemOf(t, "EC PRIVATE KEY", &key.PublicKey)), "one PEM block"},
		{"PEM with something after it", documentWith(strings.TrimSuffix(pemOf(t, "PUBLIC KEY", &key.PublicKey), `"`) + `x"`), "one PEM block"},
		{"no PEM", documentWith(`"x"`), "one PEM block"},
	} {
		t.Run("A-1: "+tt.name, func(t *testing.T) {
			doc, err := parseDocument([]byte(tt.in), exampleAgent(t))
			switch {
			case tt.fault == "" && err != nil:
				t.Error(err)
			case tt.fault == "" && (!doc.key.Equal(&key.PublicKey) || *doc.identity() != Identity{"Shopper", Developer{"Dev", "dev-1"}}):
				t.Errorf("got %+v", doc)
			case tt.fault != "" && (err == nil || !strings.Contains(err.Error(), tt.fault)):
				t.Errorf("got %v, want %q", err, tt.fault)
			}
		})
	}
}

// proves: A-6
func TestFreshness(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"": 5 * time.Minute, "public": 5 * time.Minute, "max-age=60": time.Minute, "public, Max-Age=60": time.Minute, `max-age="60"`: time.Minute,
		"max-age=86400": 5 * time.Minute, "max-age=0": 10 * time.Second, "max-age=5": 10 * time.Second, "no-store": 10 * time.Second,
		"max-age=60, no-cache": 10 * time.Second, "max-age=-1": 10 * time.Second, "max-age=99999999999999999999": 10 * time.Second, "max-age": 10 * time.Second,
		"max-age=60, max-age=30": 30 * time.Second,
	} {
		if got := freshness(header); got != want {
			t.Errorf("A-6: %q: got %v, want %v", header, got, want)
		}
	}
}

func FuzzDocument(f *testing.F) {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	f.Add([]byte(documentWith(jwkOf(&key.PublicKey, ""))))
	f.Add([]byte(documentWith(pemOf(f, "PUBLIC KEY", &key.PublicKey))))
	f.Add([]byte(`{"a":[{"a":{}}],"a\u0000":1e999}`))
	agent := exampleAgent(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := parseDocument(data, agent)
		if err != nil {
			return
		}
		if doc.key == nil || doc.key.Curve != elliptic.P256() || doc.name == "" || doc.developer.ID == "" || doc.developer.Name == "" {
			t.Errorf("accepted without its parts: %+v", doc)
		}
		if !strings.Contains(string(data), "agent") && !strings.Contains(string(data), `\u`) {
			t.Error("accepted without the agent_id")
		}
	})
}

// many is n members.
func many(n int) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf(`"x%d":1`, i))
	}
	return strings.Join(out, ",")
}
