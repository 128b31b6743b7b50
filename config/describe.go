package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode"

	"github.com/athd/athd/approval"
	"github.com/athd/athd/ath"
	"github.com/athd/athd/attest"
	"github.com/athd/athd/httpapi"
	"github.com/athd/athd/provider"
)

// maxDescribed bounds what an event says of one setting, in bytes.
const maxDescribed = 1000

// describe says what a setting is, for the audit log. It has no secret: of those it
// has a digest at most, and only where nobody can guess them.
func describe(value any) string {
	text := ""
	switch v := value.(type) {
	case time.Duration:
		text = ath.FormatDuration(v)
	case approval.Policy:
		text = "default " + string(v.Default)
		for _, r := range v.Rules {
			text += "; " + r.String()
		}
	case []httpapi.AdminToken:
		var all []string
		for _, t := range v {
			one := t.Name + " " + string(t.Role) + " " + t.Digest.String()[:8] // of 16 random bytes at least
			if !t.Expires.IsZero() {
				one += " until " + t.Expires.UTC().Format(time.RFC3339)
			}
			all = append(all, one)
		}
		text = strings.Join(all, "; ")
	case []attest.Pinned:
		var all []string
		for _, p := range v {
			all = append(all, p.Agent.String()+" "+p.Developer.ID)
		}
		text = strings.Join(all, "; ")
	case *ServerTLS:
		if v != nil {
			text = "certificate " + fingerprint(v.Certificate.Certificate) + ", for " + strings.Join(v.ClientSANs, " ")
		}
	case *ClientTLSFiles:
		if v != nil {
			text = fmt.Sprint(*v)
		}
	default:
		text = fmt.Sprintf("%+v", value)
	}
	if len(text) > maxDescribed {
		text = strings.ToValidUTF8(text[:maxDescribed], "") + "…"
	}
	return text
}

// fingerprint tells certificates apart, as openssl x509 -fingerprint -sha256 does
// with its first digits.
func fingerprint(chain [][]byte) string {
	if len(chain) == 0 {
		return "none"
	}
	sum := sha256.Sum256(chain[0])
	return hex.EncodeToString(sum[:8])
}

// providerChanges names what differs between two providers, by the fields' names:
// values may be secrets.
func providerChanges(was, is *provider.Provider) string {
	if was == nil {
		return "there"
	}
	var names []string
	fields := func(a, b reflect.Value) {
		for i := range a.NumField() {
			f := a.Type().Field(i)
			if f.IsExported() && f.Type.Kind() != reflect.Func && f.Name != "App" && !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
				names = append(names, snake(f.Name))
			}
		}
	}
	fields(reflect.ValueOf(was).Elem(), reflect.ValueOf(is).Elem())
	if was.App != nil && is.App != nil {
		fields(reflect.ValueOf(was.App).Elem(), reflect.ValueOf(is.App).Elem())
	}
	return "changed: " + strings.Join(names, " ")
}

// snake writes ClientID as client_id.
func snake(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 && (unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
