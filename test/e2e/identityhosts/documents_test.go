package identityhosts

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"unicode/utf16"
)

// A documentCase is a document that a host publishes.
type documentCase struct {
	name string
	body func(h *host) []byte
	want string
}

// replaced returns the document with one text in place of another.
func replaced(old, with string) func(h *host) []byte {
	return func(h *host) []byte {
		document := string(h.document())
		if !strings.Contains(document, old) {
			panic("no " + old + " in the document")
		}
		return []byte(strings.Replace(document, old, with, 1))
	}
}

// keyed returns the document with this for a key.
func keyed(key func(h *host) string) func(h *host) []byte {
	return func(h *host) []byte { return documentOf(h.id, key(h)) }
}

func literally(key string) func(h *host) []byte { return keyed(func(*host) string { return key }) }

// own is the agent's true key as a JWK, with more members.
func own(more string) func(h *host) []byte {
	return keyed(func(h *host) string { return strings.TrimSuffix(jwkOf(&h.key.PublicKey), "}") + more + "}" })
}

// pemText is a PEM block as a JSON text.
func pemText(kind string, der []byte, before, after string) string {
	text, err := json.Marshal(before + string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})) + after)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func der(key any) []byte {
	out, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		panic(err)
	}
	return out
}

func ownPEM(before, after string) func(h *host) []byte {
	return keyed(func(h *host) string { return pemText("PUBLIC KEY", der(&h.key.PublicKey), before, after) })
}

func coordinate(n *big.Int, size int) string {
	return base64.RawURLEncoding.EncodeToString(n.FillBytes(make([]byte, size)))
}

func padded(h *host, size int) []byte {
	document := h.document()
	return append(document, bytes.Repeat([]byte{' '}, size-len(document))...)
}

func documentCases(t *testing.T) []documentCase {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// A number of 16384 bits: nobody needs to know its factors.
	modulus := new(big.Int).SetBit(new(big.Int), 16383, 1)
	modulus.SetBit(modulus, 0, 1)
	huge := &rsa.PublicKey{N: modulus, E: 65537}
	field := elliptic.P256().Params().P
	another := newKey(t)

	return []documentCase{
		{"a JWK", own(""), "accepted"},
		{"a JWK with more members", own(`,"use":"sig","alg":"ES256","kid":"k","key_ops":["verify"]`), "accepted"},
		{"a PEM text", ownPEM("", ""), "accepted"},
		{"64 KiB", func(h *host) []byte { return padded(h, 64<<10) }, "accepted"},
		{"64 KiB and a byte", func(h *host) []byte { return padded(h, 64<<10+1) }, "refused: larger than 65536 bytes"},
		{"a megabyte of JSON", replaced(`{`, `{"x":"`+strings.Repeat("x", 1<<20)+`",`), "refused: larger than 65536 bytes"},
		{"a member of 60,000 bytes that nobody knows", replaced(`{`, `{"x":"`+strings.Repeat("x", 60_000)+`",`), "accepted"},
		{"10,000 items that nobody knows", replaced(`{`, `{"x":[`+strings.Repeat("1,", 10_000)+`1],`), "accepted"},
		{"a number of 10,000 digits", replaced(`{`, `{"x":`+strings.Repeat("9", 10_000)+`,`), "accepted"},
		{"30,000 levels", replaced(`{`, `{"x":`+strings.Repeat("[", 30_000)+strings.Repeat("]", 30_000)+`,`), "refused: too many levels"},
		{"10,000 levels of objects", replaced(`{`, `{"x":`+strings.Repeat(`{"a":`, 10_000)+"1"+strings.Repeat("}", 10_000)+`,`), "refused: too many levels"},
		{"unclosed levels", func(*host) []byte { return bytes.Repeat([]byte("["), 60_000) }, "refused: too many levels"},

		{"public_key twice", replaced(`{`, `{"public_key":`+jwkOf(&another.PublicKey)+`,`), "refused: member twice"},
		{"public_key twice, the same", func(h *host) []byte { return replaced(`{`, `{"public_key":`+jwkOf(&h.key.PublicKey)+`,`)(h) }, "refused: member twice"},
		{"public_key twice, one with an escape", replaced(`{`, `{"public\u005fkey":`+jwkOf(&another.PublicKey)+`,`), "refused: member twice"},
		{"agent_id twice", replaced(`{`, `{"agent_id":"https://victim.example/agent.json",`), "refused: member twice"},
		{"developer.id twice", replaced(`"id":"dev-1"`, `"id":"dev-1","id":"trusted"`), "refused: member twice"},
		{"x of the key twice", own(`,"x":"AA"`), "refused: member twice"},
		{"a member twice that nobody knows", replaced(`{`, `{"a":{"b":[{"c":1,"c":2}]},`), "refused: member twice"},
		{"Public_Key beside public_key", replaced(`{`, `{"Public_Key":`+jwkOf(&another.PublicKey)+`,"AGENT_ID":"https://victim.example/",`), "accepted"},
		{"Public_Key in place of public_key", replaced(`"public_key"`, `"Public_Key"`), "refused: neither a JWK nor a PEM"},
		{"ſ for s: names that fold to others", replaced(`"ath_version":"0.1"`, `"ath_verſion":"0.1"`), "refused: ath_version is missing"},

		{"another agent_id", func(h *host) []byte { return documentOf(h.idAt("other."+domain), jwkOf(&h.key.PublicKey)) }, "refused: names another agent_id"},
		{"the agent_id and a slash", replaced(`agent.json`, `agent.json/`), "refused: names another agent_id"},
		{"the agent_id in upper case", func(h *host) []byte { return replaced(h.name, strings.ToUpper(h.name))(h) }, "refused: names another agent_id"},
		{"the agent_id and a NUL", replaced(`agent.json`, `agent.json\u0000`), "refused: control characters"},
		{"a list of agent_ids", func(h *host) []byte { return replaced(`"`+h.id.String()+`"`, `["`+h.id.String()+`"]`)(h) }, "refused: agent_id is missing"},
		{"no agent_id", replaced(`"agent_id"`, `"id"`), "refused: agent_id is missing"},
		{"another agent's key", literally(jwkOf(&another.PublicKey)), "refused: (signature)"},

		{"a P-384 JWK", literally(jwkOf(&p384.PublicKey)), "refused: crv of the JWK is not P-256"},
		{"a P-384 point, said to be P-256", literally(strings.Replace(jwkOf(&p384.PublicKey), "P-384", "P-256", 1)), "refused: not 32 bytes"},
		{"a P-384 PEM", literally(pemText("PUBLIC KEY", der(&p384.PublicKey), "", "")), "refused: not a P-256 key"},
		{"an Ed25519 PEM", literally(pemText("PUBLIC KEY", der(ed), "", "")), "refused: not a P-256 key"},
		{"an Ed25519 JWK", literally(`{"kty":"OKP","crv":"Ed25519","x":"` + base64.RawURLEncoding.EncodeToString(ed) + `"}`), "refused: of the JWK is not"},
		{"an RSA JWK of 16384 bits", literally(`{"kty":"RSA","e":"AQAB","n":"` + base64.RawURLEncoding.EncodeToString(modulus.Bytes()) + `"}`), "refused: of the JWK is not"},
		{"an RSA PEM of 16384 bits", literally(pemText("PUBLIC KEY", der(huge), "", "")), "refused: public_key: "},
		{"a symmetric JWK", literally(`{"kty":"oct","k":"c2VjcmV0"}`), "refused: of the JWK is not"},
		{"a JWK with its private part", keyed(func(h *host) string {
			d, err := h.key.Bytes()
			if err != nil {
				panic(err)
			}
			return strings.TrimSuffix(jwkOf(&h.key.PublicKey), "}") + `,"d":"` + base64.RawURLEncoding.EncodeToString(d) + `"}`
		}), "refused: holds a private key"},
		{"a PEM with the private key", keyed(func(h *host) string {
			private, err := x509.MarshalPKCS8PrivateKey(h.key)
			if err != nil {
				panic(err)
			}
			return pemText("PRIVATE KEY", private, "", "")
		}), "refused: want one PEM block PUBLIC KEY"},
		{"a point off the curve", literally(`{"kty":"EC","crv":"P-256","x":"` + coordinate(big.NewInt(1), 32) + `","y":"` + coordinate(big.NewInt(1), 32) + `"}`), "refused: not on the curve"},
		{"the point at zero", literally(`{"kty":"EC","crv":"P-256","x":"` + coordinate(big.NewInt(0), 32) + `","y":"` + coordinate(big.NewInt(0), 32) + `"}`), "refused: not on the curve"},
		{"a coordinate past the field", literally(`{"kty":"EC","crv":"P-256","x":"` + coordinate(field, 32) + `","y":"` + coordinate(big.NewInt(1), 32) + `"}`), "refused: not on the curve"},
		{"a PEM off the curve", literally(pemText("PUBLIC KEY", offCurve(der(&another.PublicKey)), "", "")), "refused: malformed PEM"},
		{"coordinates of 10,000 bytes", literally(`{"kty":"EC","crv":"P-256","x":"` + strings.Repeat("A", 13_000) + `","y":"` + strings.Repeat("A", 13_000) + `"}`), "refused: not 32 bytes"},
		{"a coordinate with a zero before it", keyed(func(h *host) string { return strings.Replace(jwkOf(&h.key.PublicKey), `"x":"`, `"x":"AAAA`, 1) }), "refused: not 32 bytes"},
		{"a key set", keyed(func(h *host) string { return `{"keys":[` + jwkOf(&h.key.PublicKey) + `]}` }), "refused: of the JWK is not"},
		{"a list of keys", keyed(func(h *host) string { return `[` + jwkOf(&h.key.PublicKey) + `]` }), "refused: neither a JWK nor a PEM"},
		{"a JWK as text", keyed(func(h *host) string { b, _ := json.Marshal(jwkOf(&h.key.PublicKey)); return string(b) }), "refused: want one PEM block"},
		{"the URL of a key", literally(`"http://169.254.169.254/key.pem"`), "refused: want one PEM block"},
		{"a PEM with something after it", ownPEM("", "and more"), "refused: want one PEM block"},
		{"a PEM with a text before it (RFC 7468)", ownPEM("The key of an agent.\n", ""), "accepted"},
		{"two PEM blocks", keyed(func(h *host) string {
			second := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der(&another.PublicKey)}))
			return pemText("PUBLIC KEY", der(&h.key.PublicKey), "", second)
		}), "refused: want one PEM block"},
		{"a PEM with bytes after its key", keyed(func(h *host) string { return pemText("PUBLIC KEY", append(der(&h.key.PublicKey), 0), "", "") }), "refused: malformed PEM"},
		{"a PEM that is a certificate", literally(pemText("CERTIFICATE", der(&another.PublicKey), "", "")), "refused: want one PEM block"},

		{"a byte order mark", func(h *host) []byte { return append([]byte("\xef\xbb\xbf"), h.document()...) }, "refused: not JSON"},
		{"UTF-16", func(h *host) []byte { return utf16Of(h.document(), false) }, "refused: not JSON"},
		{"UTF-16 with a byte order mark", func(h *host) []byte { return utf16Of(h.document(), true) }, "refused: not JSON"},
		{"a name with control characters", replaced("Shopper", `Shopper\u0000\u001b[2J`), "refused: control characters"},
		{"a name that turns the writing round", replaced("Shopper", `Shopper\u202egpj`), "refused: control characters"},
		{"a name of 10,000 letters, escaped", replaced("Shopper", strings.Repeat(`\u0061`, 10_000)), "refused: too long"},
		{"two documents", func(h *host) []byte { return append(h.document(), h.document()...) }, "refused: not JSON"},
		{"a comment", replaced(`{`, `{/* key */`), "refused: not JSON"},
		{"a comma too many", replaced(`"ath_version":"0.1",`, `"ath_version":"0.1",,`), "refused: not JSON"},
		{"NaN", replaced(`{`, `{"x":NaN,`), "refused: not JSON"},
		{"an unclosed text", func(*host) []byte { return []byte(`{"agent_id":"` + strings.Repeat("x", 60_000)) }, "refused: not JSON"},
		{"nothing", func(*host) []byte { return nil }, "refused: not JSON"},
		{"null", func(*host) []byte { return []byte("null") }, "refused: not a JSON object"},
		{"HTML", func(*host) []byte { return []byte("<!doctype html><p>{}") }, "refused: not JSON"},
	}
}

// offCurve changes the last byte of a point.
func offCurve(der []byte) []byte {
	der[len(der)-1] ^= 1
	return der
}

func utf16Of(text []byte, mark bool) (out []byte) {
	if mark {
		out = []byte{0xff, 0xfe}
	}
	for _, unit := range utf16.Encode([]rune(string(text))) {
		out = append(out, byte(unit), byte(unit>>8))
	}
	return out
}

// documents has identities verified by what their hosts publish.
func (w *world) documents(t *testing.T, table *table) {
	for _, c := range documentCases(t) {
		row := table.row(c.name, c.want)
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w.turn(t)
			h := w.newHost(t, w.name())
			h.serveTLS(w.settings)
			w.dns.add(h.name, at("127.0.0.1"))
			h.answer(withBody(c.body)(h))
			w.judgeHost(t, h, row, unhurried, 1)
		})
	}
}
