package athflow

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

// A browserState is how far a browser has come with one session (Z-3, Z-5). It
// is proved by a cookie that is keyed with the session's own key, so that
// nothing is stored
// until the user decides, any number of browsers may open the same link, and
// no cookie of one session counts in another. This prevents session fixation:
// what one browser started no other one can finish.
type browserState string

const (
	unseen  browserState = ""
	started browserState = "s" // it passed through the start URL
	allowed browserState = "a" // its user pressed allow
)

const nonceWidth = 22

// bindingMAC proves one statement about one browser.
func bindingMAC(s *tokenstore.Session, what, nonce string) string {
	m := hmac.New(sha256.New, []byte(s.BrowserKey.Reveal()))
	m.Write([]byte(what + "\x00" + nonce))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// readBrowserState reads the cookie of this session, and returns the browser's
// nonce with the state that it proves.
func (f *Flow) readBrowserState(r *http.Request, s *tokenstore.Session, tag ath.Tag) (nonce string, state browserState) {
	if s.BrowserKey.IsZero() {
		return "", unseen
	}
	for _, c := range r.CookiesNamed(f.cookieName(tag)) {
		parts := strings.Split(c.Value, ".")
		if len(parts) != 3 || len(parts[0]) != nonceWidth {
			continue
		}
		at := browserState(parts[1])
		if at != started && at != allowed {
			continue
		}
		if hmac.Equal([]byte(parts[2]), []byte(bindingMAC(s, "cookie "+string(at), parts[0]))) {
			return parts[0], at
		}
	}
	return "", unseen
}

// setBrowserState gives the browser the cookie for a state.
func (f *Flow) setBrowserState(w http.ResponseWriter, s *tokenstore.Session, tag ath.Tag, nonce string, state browserState) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure wherever public_url is https
		Name:  f.cookieName(tag),
		Value: nonce + "." + string(state) + "." + bindingMAC(s, "cookie "+string(state), nonce),
		Path:  "/",
		// Longer than the session: who comes late should hear that, not that
		// the browser is another one.
		MaxAge:   max(1, int((s.Expires.Sub(f.Now())+MaxSessionTTL)/time.Second)),
		Secure:   f.secure(),
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	})
}

// upstreamState is the state that this browser takes to the provider, and
// upstreamVerifier the PKCE verifier of the code that it brings back. They
// follow from the browser's nonce: whoever knows the link, the agent among
// them, can start the provider's flow with neither, and a code that was got
// elsewhere does not fit here (Z-3).
func upstreamState(s *tokenstore.Session, tag ath.Tag, nonce string) (ath.State, error) {
	return ath.ParseState(string(tag) + "_" + bindingMAC(s, "state", nonce))
}

func upstreamVerifier(s *tokenstore.Session, nonce string) ath.Secret {
	return ath.NewSecret(bindingMAC(s, "verifier", nonce))
}

// formToken keeps another site's form from deciding for the user: it follows
// from the cookie, which that site cannot read.
func formToken(s *tokenstore.Session, nonce string) string { return bindingMAC(s, "form", nonce) }

func newNonce() string {
	var b [16]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func (f *Flow) secure() bool { return strings.HasPrefix(f.ConsentURL, "https://") }

// cookieName has a prefix on https by which browsers make sure that no other
// host set the cookie, a sub-domain's neighbour among them.
func (f *Flow) cookieName(tag ath.Tag) string {
	if f.secure() {
		return "__Host-" + ath.CookiePrefix + string(tag)
	}
	return ath.CookiePrefix + string(tag)
}
