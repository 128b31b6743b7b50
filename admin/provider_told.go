package admin

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxTold is how much of one member an event tells.
const maxTold = 200

// A teller writes documents into events. Its digests are keyed: who reads the log
// cannot try secrets on them.
type teller struct{ key []byte }

// teller has a key that follows from the keyset, so that all replicas tell a secret
// alike; the embedded store's keyset is one of the process.
func (s *API) teller() (teller, error) {
	key, err := s.Store.Keyset().Derive("athd audit digest")
	return teller{key}, err
}

// tell is what an event says of a document: secrets as digests, by which a change of
// one shows, and of what is long a digest too.
func (t teller) tell(d document) string {
	if len(d) == 0 {
		return ""
	}
	out := document{}
	for name, value := range d {
		out[name] = t.member(name, value)
	}
	b, err := out.encode()
	if err != nil {
		return "{}" // values of a document that was read
	}
	return string(b)
}

func (t teller) member(name string, value jsontext.Value) jsontext.Value {
	switch {
	case name == "client_secret":
		return t.digest(value)
	case name == "extra_token_params", name == "extra_authorize_params":
		var params map[string]jsontext.Value
		if json.Unmarshal(value, &params) != nil {
			return t.digest(value)
		}
		for param, v := range params {
			params[param] = t.digest(v)
		}
		b, err := json.Marshal(params, json.Deterministic(true))
		if err != nil || len(b) > maxTold {
			return t.digest(value)
		}
		return b
	case len(value) > maxTold:
		return t.digest(value)
	case value.Kind() == '"':
		return t.withoutQuery(value)
	}
	return value
}

// withoutQuery is a URL with a digest in place of its query, which may hold a secret;
// any other text stays as it is.
func (t teller) withoutQuery(value jsontext.Value) jsontext.Value {
	var text string
	if json.Unmarshal(value, &text) != nil {
		return t.digest(value)
	}
	at := strings.IndexAny(text, "?#")
	if at < 0 || !strings.Contains(text, "://") {
		return value
	}
	b, err := json.Marshal(text[:at+1] + t.sum(text[at+1:]))
	if err != nil {
		return t.digest(value)
	}
	return b
}

func (t teller) digest(value jsontext.Value) jsontext.Value {
	return jsontext.Value(strconv.Quote(t.sum(string(value))))
}

func (t teller) sum(text string) string {
	mac := hmac.New(sha256.New, t.key)
	mac.Write([]byte(text))
	return "hmac-sha256:" + hex.EncodeToString(mac.Sum(nil)[:8])
}
