package extauthz

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/athd/athd/authz"
	"github.com/athd/athd/envoy"
)

// joined says whether Envoy tells of this request without encode_raw_headers. What it
// joins so, it also makes UTF-8: a '!' in it may have been any other byte.
func (way *way) joined() bool {
	a := newAttributes(way)
	return a.Request.Http.HeaderMap == nil && len(a.Request.Http.Headers) > 0
}

func newAttributes(way *way) *authv3.AttributeContext {
	a := (&world{}).ask().Attributes
	if way.edit != nil {
		way.edit(a)
	}
	return a
}

// told undoes joined, and puts this in the place of each '!' of the target: the
// request as it was, byte for byte.
func told(instead string) func(*authv3.AttributeContext) {
	return func(a *authv3.AttributeContext) {
		http := a.Request.Http
		pairs := []string{}
		for _, name := range slices.Sorted(maps.Keys(http.Headers)) {
			value := http.Headers[name]
			if name == ":path" {
				value = strings.ReplaceAll(value, "!", instead)
			}
			pairs = append(pairs, name, value)
		}
		http.HeaderMap, http.Headers = rawHeaders(pairs...), nil
	}
}

// ext_proc always tells each byte of a target. So its door answers as ext_authz does
// with encode_raw_headers, and needs to refuse no '!' for what that may have been.
//
// proves: P-5, P-7
func TestBothDoorsAnswerAlikeOfEachByteThatTheyAreTold(t *testing.T) {
	type answer struct {
		reason authz.Reason
		status int
	}
	refused := answer{authz.TargetNotCanonical, 400}
	wants := map[string]struct{ sent, replaced answer }{
		"P-5: a person's request with a token, in a target of which Envoy may have replaced a byte": {answer{authz.TokenInQuery, 400}, refused},
		"a person's request, in a target of which Envoy may have replaced a byte":                   {answer{authz.PassedThrough, 0}, answer{authz.PassedThrough, 0}},
		"P-7: a target of which Envoy may have replaced a byte":                                     {answer{authz.Allowed, 0}, refused},
		"the callback, of whose code Envoy may have replaced a byte":                                {answer{authz.Companion, 0}, refused},
		"P-7: the handshake, in a path of which Envoy may have replaced a byte":                     {answer{authz.Companion, 0}, refused},
	}
	for _, way := range ways {
		if !way.joined() {
			continue
		}
		want, there := wants[way.name]
		if !there {
			t.Errorf("nothing is known of %q", way.name)
		}
		delete(wants, way.name)
		for instead, want := range map[string]answer{"!": want.sent, "\xff": want.replaced} {
			t.Run(way.name+": "+strconv.QuoteToASCII(instead), func(t *testing.T) {
				w := newWorld(t)
				if way.world != nil {
					way.world(w)
				}
				e := w.alike(t, openDoors(t, w.decider().Decide), way.edit, told(instead))
				if got := (answer{authz.Reason(e.Metadata[envoy.MetaReason].(string)), e.Status}); got != want {
					t.Errorf("%+v, want %+v", got, want)
				}
			})
		}
	}
	for name := range wants {
		t.Errorf("no way is %q", name)
	}
}
