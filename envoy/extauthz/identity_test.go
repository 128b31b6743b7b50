package extauthz

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/exchange"
)

// identifying has a name for each entry of envoy's tables.
func identifying() []string {
	names := append([]string{"x-goog-iap-jwt-assertion", "cf-access-jwt-assertion"}, envoy.IdentityHeaders[:]...)
	for _, p := range envoy.IdentityPrefixes {
		names = append(names, p+"user")
	}
	return names
}

// proves: P-5
func TestHeadersThatIdentifyOrOverrideAreAnAgentsToLose(t *testing.T) {
	w := newWorld(t)
	c := w.checks()
	for _, name := range append(identifying(), envoy.OverrideHeaders[:]...) {
		for _, spelt := range []string{name, strings.ToUpper(name), strings.ReplaceAll(name, "-", "_")} {
			for form, edits := range map[string][]func(*authv3.AttributeContext){"raw": {also(spelt, "a")}, "joined": {also(spelt, "a"), joined(true)}} {
				if ok := w.check(c, w.ask(edits...)).GetOkResponse(); !slices.Contains(ok.GetHeadersToRemove(), strings.ToLower(spelt)) {
					t.Errorf("%s, %s: not removed: %v", spelt, form, ok)
				}
			}
			if ok := w.check(c, w.ask(byPerson(spelt, "a"))).GetOkResponse(); ok == nil || slices.Contains(ok.GetHeadersToRemove(), strings.ToLower(spelt)) {
				t.Errorf("%s: a person has lost it: %v", spelt, ok)
			}
		}
	}
}

func TestHeadersThatIdentifyAndCannotBeRemovedAreRefused(t *testing.T) {
	w := newWorld(t)
	for what, edit := range map[string]func(*authv3.AttributeContext){
		"a name that is none":     also("x-auth-request-a b", "1"),
		"a name beyond ASCII":     also("x-auth-request-\u00e9", "1"),
		"a name that is too long": also("x-auth-request-"+strings.Repeat("a", exchange.MaxHeaderNameBytes), "1"),
		"more names than are told": func(a *authv3.AttributeContext) {
			for i := range exchange.MaxHeaderNames + 1 {
				also(fmt.Sprintf("remote-%d", i), "1")(a)
				also(fmt.Sprintf("ssl-client-%d", i), "1")(a)
			}
		},
	} {
		if r := w.check(w.checks(), w.ask(edit)); r.GetDeniedResponse() == nil {
			t.Errorf("%s: %v", what, r)
		}
	}
}

// proves: T-6
func TestAnAgentCannotChooseHowLongItsStreamLasts(t *testing.T) {
	w := newWorld(t)
	for _, header := range []string{envoy.HeaderStream, envoy.HeaderStreamEnvoy} {
		r := w.check(w.checks(), w.ask(also(envoy.HeaderStream, "999999999"), also("x_ath_stream_ms", "999999999"), func(a *authv3.AttributeContext) {
			a.ContextExtensions[envoy.ExtStream] = header
		}))
		said := map[string]string{}
		for _, h := range r.GetOkResponse().GetHeaders() {
			said[h.Header.Key] = h.Header.Value
		}
		if got := said[header]; got != fmt.Sprint(time.Hour.Milliseconds()) {
			t.Errorf("%s: %q", header, got)
		}
		// Envoy removes after it has set.
		removes := r.GetOkResponse().GetHeadersToRemove()
		if slices.Contains(removes, header) || !slices.Contains(removes, "x_ath_stream_ms") || header != envoy.HeaderStream && !slices.Contains(removes, envoy.HeaderStream) {
			t.Errorf("%s: removes %v", header, removes)
		}
	}
}

// proves: P-5
func TestTokensInOtherHeadersAreSeenInEveryForm(t *testing.T) {
	w := newWorld(t)
	token := w.token.Secret().Reveal()
	for _, value := range []string{"https://a.example/?t=ATH%5Ftk%5fx", "%61th%5Ftk_x", "%2561th_tk_x", "Ath_Tk_x"} {
		if a := scanned(t, w.ask(also("referer", value))); !a.stray {
			t.Errorf("%q: not seen", value)
		}
	}
	for _, name := range []string{"x-api-key", "referer", "upgrade", "x-forwarded-for", "x-http-method", "remote-user", "x-auth-token", ":authority"} {
		for form, edits := range map[string][]func(*authv3.AttributeContext){"raw": {also(name, "a "+token)}, "as value": {also(name, "a "+token), asValues}, "joined": {also(name, "a "+token), joined(true)}} {
			if a := scanned(t, w.ask(edits...)); !a.stray {
				t.Errorf("%s, %s: not seen", name, form)
			}
		}
	}
}

// asValues is for an Envoy without encode_raw_headers that sends a header_map.
func asValues(a *authv3.AttributeContext) {
	for _, h := range a.Request.Http.HeaderMap.Headers {
		h.Value, h.RawValue = string(h.RawValue), nil
	}
}
