// Package leak looks for secrets in what must not hold them: dumps of the
// store, logs. It finds a secret in plain, in hex of either case and in
// base64 of either alphabet at any offset, whatever stands around it.
package leak

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
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
		if url := strings.NewReplacer("+", "-", "/", "_").Replace(core); url != core {
			out = append(out, form{name, []byte(url)})
		}
	}
	return out
}

// Scan looks for secrets in everything that it is given, by name of place.
func Scan(places map[string][]byte, secrets []Secret) ([]Find, error) {
	var finds []Find
	for _, s := range secrets {
		if len(s.Value) < minBytes {
			return nil, fmt.Errorf("%s is too short to be looked for", s.Name)
		}
		for _, f := range forms(s.Value) {
			for where, data := range places {
				if at := bytes.Index(data, f.text); at >= 0 {
					finds = append(finds, Find{s.Name, f.name, where, at})
				}
			}
		}
	}
	return finds, nil
}
