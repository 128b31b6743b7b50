package provider

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/athd/athd/ath"
)

const (
	maxTokenBytes = 32 << 10 // a directory's groups make tokens large
	maxUserBytes  = 256
	maxLife       = 10 * 365 * 24 * time.Hour
)

// A reply is the body of a token reply (RFC 6749, section 5.1) or of
// userinfo: JSON values, numbers as json.Number.
type reply map[string]any

// readReply reads JSON or a form, by what the body looks like: media types are wrong
// too often (JSON under text/plain, a form under application/json).
func readReply(body []byte) (r reply, ok bool) {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\ufeff")))
	if len(body) == 0 || body[0] != '{' {
		return readForm(string(body))
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if d.Decode(&r) != nil || r == nil {
		return nil, false
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, false
	}
	return r, true
}

// readForm takes for a form only what answers as one: with a token or an error.
func readForm(body string) (reply, bool) {
	form, err := url.ParseQuery(body)
	if err != nil || form.Get("access_token") == "" && form.Get("error") == "" {
		return nil, false
	}
	r := reply{}
	for name, values := range form {
		r[name] = values[0]
	}
	return r, true
}

// refusal reports whether the reply says that there was an error, and its code
// (RFC 6749, section 5.2) if it is text. Slack says ok, too.
func (r reply) refusal() (code string, refused bool) {
	code, _ = r["error"].(string)
	return code, r["error"] != nil && r["error"] != "" || r["ok"] == false
}

// tokens reads a token reply. Absent scope, expires_in, refresh_token and
// token_type are normal. bearer is what token_type may be beside bearer.
func (r reply) tokens(now time.Time, bearer []string) (t Tokens, message string) {
	access, ok := r.text("access_token")
	switch {
	case ok && access == "":
		return Tokens{}, "the reply contains no access_token"
	case len(access) > maxTokenBytes:
		return Tokens{}, tooLong("access_token", len(access))
	case !ok || !fitsHeader(access):
		return Tokens{}, "the reply's access_token is malformed"
	}
	if kind, ok := r.text("token_type"); !ok || kind != "" && !slices.ContainsFunc(append(bearer, "bearer"), func(b string) bool { return strings.EqualFold(b, kind) }) {
		return Tokens{}, "the reply's token_type is not bearer"
	}
	refresh, ok := r.text("refresh_token")
	switch {
	case len(refresh) > maxTokenBytes:
		return Tokens{}, tooLong("refresh_token", len(refresh))
	case !ok || !ath.IsPrintable(refresh):
		return Tokens{}, "the reply's refresh_token is malformed"
	}
	t.Access, t.Refresh = ath.NewSecret(access), ath.NewSecret(refresh)
	if t.Expires, ok = r.expires(now); !ok {
		return Tokens{}, "the reply's expires_in is malformed"
	}
	t.RefreshExpires = r.refreshExpires(now)
	if t.Scopes, t.ScopesGiven, ok = r.scopes(); !ok {
		return Tokens{}, "the reply's scope is malformed"
	}
	return t, ""
}

func tooLong(what string, length int) string {
	return fmt.Sprintf("the reply's %s is too long: %d bytes, and at most %d are taken", what, length, maxTokenBytes)
}

// text returns a text member, "" if it is absent or null.
func (r reply) text(name string) (value string, ok bool) {
	if r[name] == nil {
		return "", true
	}
	value, ok = r[name].(string)
	return value, ok
}

// expires reads expires_in, seconds as a number or, at some providers, as
// text. Zero and less are taken as "not known": some say 0 for never.
func (r reply) expires(now time.Time) (time.Time, bool) {
	var text string
	switch v := r["expires_in"].(type) {
	case nil:
		return time.Time{}, true
	case json.Number:
		text = v.String()
	case string:
		text = v
	}
	if text == "" && r["expires_in"] == "" {
		return time.Time{}, true
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || seconds != seconds {
		return time.Time{}, false
	}
	if seconds <= 0 {
		return time.Time{}, true
	}
	return now.Add(time.Duration(min(seconds, maxLife.Seconds()) * float64(time.Second))), true
}

// scopes reads scope: separated by spaces or commas (C-4), or a list. An empty
// one says that nothing was granted; that is not the same as none.
func (r reply) scopes() (scopes ath.Scopes, given, ok bool) {
	var err error
	switch v := r["scope"].(type) {
	case nil:
		return nil, false, true
	case string:
		scopes, err = ath.SplitScopes(v)
	case []any:
		list := make([]string, len(v))
		for i := range v {
			list[i], _ = v[i].(string)
		}
		scopes, err = ath.ParseScopes(list)
	default:
		return nil, false, false
	}
	return scopes, true, err == nil
}

// user returns a user id that is text or a number, "" if there is none that
// is fit to be stored and logged. A field with dots leads into objects
// (data.user_id), unless there is one of just this name.
func (r reply) user(field string) string {
	value, there := r[field]
	for at := r; !there && at != nil; {
		step, rest, nested := strings.Cut(field, ".")
		if value = at[step]; !nested {
			break
		}
		at, _ = value.(map[string]any)
		value, field = nil, rest
	}
	var id string
	switch v := value.(type) {
	case json.Number:
		if _, whole := new(big.Int).SetString(v.String(), 10); whole && len(v) <= maxUserBytes {
			id = v.String() // 1e3 and 1000.0 would be other users than 1000
		}
	case string:
		id = v
	}
	if len(id) > maxUserBytes || strings.ContainsFunc(id, unicode.IsControl) {
		return ""
	}
	return id
}

// fitsHeader reports whether a token can stand in an Authorization header
// (RFC 6750, section 2.1, and a little more than its b64token).
func fitsHeader(token string) bool {
	return token != "" && len(token) <= maxTokenBytes && ath.IsVisible(token)
}
