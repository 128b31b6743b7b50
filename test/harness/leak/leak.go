// Package leak looks for secrets in what must not hold them: dumps of the
// store, logs. It finds a secret in plain, in hex of either case and in
// base64 of either alphabet at any offset, whatever stands around it, and as it
// is written in a URL. A [Watch] gathers the secrets of a test.
package leak

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
)

// A Secret is a value that must not show, and what it is.
type Secret struct{ Name, Value string }

// A Find is a secret that was found.
type Find struct {
	Secret string // its name
	Form   string // how it is written there
	Where  string
	Offset int
}

func (f Find) String() string {
	return fmt.Sprintf("%s, in %s, at byte %d of %s", f.Secret, f.Form, f.Offset, f.Where)
}

// minBytes keeps short values, which occur by chance, from being looked for.
const minBytes = 8

type form struct {
	name string
	text []byte
}

// forms returns every spelling of a value that is looked for.
func forms(value string) []form {
	v := []byte(value)
	lower := hex.EncodeToString(v)
	out := []form{
		{"plain", v}, {"hex", []byte(lower)}, {"hex", []byte(strings.ToUpper(lower))},
	}
	for _, escaped := range []string{url.QueryEscape(value), url.PathEscape(value)} {
		if escaped != value {
			out = append(out, form{"the spelling of a URL", []byte(escaped)})
		}
	}
	for offset := range 3 {
		// In base64 a value reads in one of three ways, by how many bytes stand
		// before it; what its neighbours decide is cut off at both ends.
		padded := append(make([]byte, offset), v...)
		encoded := base64.RawStdEncoding.EncodeToString(padded)
		from := (offset*8 + 5) / 6
		to := len(padded) * 8 / 6
		core := encoded[from:to]
		name := fmt.Sprintf("base64 at offset %d", offset)
		out = append(out, form{name, []byte(core)})
		if other := strings.NewReplacer("+", "-", "/", "_").Replace(core); other != core {
			out = append(out, form{name, []byte(other)})
		}
	}
	return out
}

// Scan looks for secrets in everything that it is given, by name of place. Its
// time does not grow with the number of secrets.
func Scan(places map[string][]byte, secrets []Secret) ([]Find, error) {
	type wanted struct {
		form
		secret string
	}
	starts := map[uint64][]wanted{} // by the first eight bytes
	var may [1 << 13]uint64         // a bit for each low 19 bits of their hash
	for _, s := range secrets {
		if len(s.Value) < minBytes {
			return nil, fmt.Errorf("%s is too short to be looked for", s.Name)
		}
		for _, f := range forms(s.Value) {
			key := binary.BigEndian.Uint64(f.text)
			starts[key] = append(starts[key], wanted{f, s.Name})
			h := bit(key)
			may[h/64] |= 1 << (h % 64)
		}
	}
	var finds []Find
	for where, data := range places {
		found := map[string]bool{}
		var key uint64
		for i, b := range data {
			key = key<<8 | uint64(b)
			if i < minBytes-1 {
				continue
			}
			if h := bit(key); may[h/64]>>(h%64)&1 == 0 {
				continue
			}
			at := i - (minBytes - 1)
			for _, x := range starts[key] {
				if bytes.HasPrefix(data[at:], x.text) && !found[x.secret+x.name] {
					found[x.secret+x.name] = true
					finds = append(finds, Find{x.secret, x.name, where, at})
				}
			}
		}
	}
	return finds, nil
}

func bit(key uint64) uint64 { return key * 0x9e3779b97f4a7c15 >> (64 - 19) }
