package metadata_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/athd/athd/egress"
	"github.com/athd/athd/provider/metadata"
)

// A server publishes documents at paths of its own.
type server struct {
	*httptest.Server
	at    map[string]http.HandlerFunc
	mu    sync.Mutex
	asked []string
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{at: map[string]http.HandlerFunc{}}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, r.URL.Path)
		s.mu.Unlock()
		if serve := s.at[r.URL.Path]; serve != nil {
			serve(w, r)
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// client is the one for hosts that strangers name, which trusts the server.
func (s *server) client(allowPrivate bool) *http.Client {
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return egress.NewClient(egress.Config{Policy: egress.Policy{AllowPrivate: allowPrivate}, InsecureTestingOnlyRootCAs: roots})
}

func (s *server) fetch(t *testing.T, issuer string) (*metadata.Document, *metadata.Error) {
	t.Helper()
	s.asked = nil
	client := s.client(true)
	client.CheckRedirect = nil // as of a client that follows
	d, err := metadata.Fetch(t.Context(), client, issuer)
	if err == nil {
		return d, nil
	}
	e, ok := errors.AsType[*metadata.Error](err)
	if !ok || d != nil {
		t.Fatalf("%v and %v, which is no *Error", d, err)
	}
	return nil, e
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
}

func TestEachPlaceIsAskedUntilOneNamesTheIssuer(t *testing.T) {
	const openID, oauth = "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"
	for _, tt := range []struct {
		name, path, at string
		asked          []string
	}{
		{"OpenID's", "/realms/a", "/realms/a" + openID, []string{"/realms/a" + openID}},
		{"OpenID's, of an issuer with a slash at its end", "/", openID, []string{openID}},
		{"RFC 8414's, before the path", "/realms/a", oauth + "/realms/a", []string{"/realms/a" + openID, oauth + "/realms/a"}},
		{"behind the path", "/realms/a", "/realms/a" + oauth, []string{"/realms/a" + openID, oauth + "/realms/a", "/realms/a" + oauth}},
		{"RFC 8414's, without a path", "", oauth, []string{openID, oauth}},
	} {
		s := newServer(t)
		issuer := s.URL + tt.path
		s.at[tt.at] = says(`{"issuer":"` + issuer + `","token_endpoint":"` + issuer + `/token","scopes_supported":["a","b"],"authorization_response_iss_parameter_supported":true,"more":{"x":[1]}}`)
		d, err := s.fetch(t, issuer)
		if err != nil || d.Issuer != issuer || d.TokenEndpoint != issuer+"/token" || !slices.Equal(d.ScopesSupported, []string{"a", "b"}) || !d.PromisesIssuer {
			t.Errorf("%s: %+v, %v", tt.name, d, err)
		}
		if !slices.Equal(s.asked, tt.asked) {
			t.Errorf("%s: asked at %q, want %q", tt.name, s.asked, tt.asked)
		}
	}
}

func TestMetadataOfAnotherIssuerIsNotTaken(t *testing.T) {
	s := newServer(t)
	for _, tt := range []struct{ issuer, says, hint string }{
		{s.URL, s.URL + "/", "they differ by the slash at the end"},
		{s.URL + "/Realm", s.URL + "/realm", "they differ by capitals"},
		{s.URL, "https://login.example.com", `got "https://login.example.com"`},
		{s.URL, "https://login.example.com/\x1b[2J", `example.com/\x1b[2J"`},
	} {
		document := says(fmt.Sprintf(`{"issuer":%s}`, strings.ReplaceAll(fmt.Sprintf("%q", tt.says), `\x1b`, `\u001b`)))
		clear(s.at)
		for _, at := range []string{"", "/Realm"} {
			s.at[at+"/.well-known/openid-configuration"] = document
		}
		_, err := s.fetch(t, tt.issuer)
		if err == nil || err.Reason != metadata.OtherIssuer || err.Got != tt.says || err.Issuer != tt.issuer {
			t.Errorf("%s: %+v", tt.issuer, err)
			continue
		}
		if text := err.Error(); !strings.Contains(text, fmt.Sprintf("expected issuer %q, got %q", tt.issuer, tt.says)) || !strings.Contains(text, tt.hint) {
			t.Errorf("%s: %s", tt.issuer, text)
		}
	}
}

func TestWhyThereIsNoMetadata(t *testing.T) {
	s := newServer(t)
	const place = "/.well-known/openid-configuration"
	for _, tt := range []struct {
		name   string
		serve  http.HandlerFunc
		reason metadata.Reason
		says   string
	}{
		{"nothing there", nil, metadata.NotFound, "HTTP status 404"},
		{"away for the moment", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, metadata.Unreachable, "HTTP status 503"},
		{"a redirect to another host", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://other.example/x", http.StatusFound)
		}, metadata.NotFound, `HTTP status 302 leads to "https://other.example/x"`},
		{"a page", says("<html>"), metadata.Malformed, "not a JSON object"},
		{"no object", says("[]"), metadata.Malformed, "not a JSON object"},
		{"null", says("null"), metadata.Malformed, "not a JSON object"},
		{"two documents", says(`{"issuer":"a"}{"issuer":"b"}`), metadata.Malformed, "not a JSON object"},
		{"an issuer twice", says(`{"issuer":"a","issuer":"b"}`), metadata.Malformed, "a member twice"},
		{"no issuer", says(`{}`), metadata.Malformed, "issuer is missing"},
		{"an issuer that is no text", says(`{"issuer":["a"]}`), metadata.Malformed, "issuer is missing, or not text"},
		{"a promise that is no boolean", says(`{"issuer":"a","authorization_response_iss_parameter_supported":"yes"}`), metadata.Malformed, "is not true or false"},
		{"too large", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"issuer":"a","x":"%s"}`, strings.Repeat("x", metadata.MaxBytes))
		}, metadata.Malformed, "larger than 65536 bytes"},
		{"cut off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, `{"issuer":"a"}`)
		}, metadata.Unreachable, "unexpected EOF"},
	} {
		s.at[place] = tt.serve
		_, err := s.fetch(t, s.URL)
		if err == nil || err.Reason != tt.reason || !strings.Contains(err.Error(), tt.says) || err.Place != s.URL+place {
			t.Errorf("%s: %+v", tt.name, err)
		}
	}
}

func TestThePlaceThatComesClosestExplains(t *testing.T) {
	s := newServer(t)
	s.at["/.well-known/openid-configuration"] = says("<html>")
	s.at["/.well-known/oauth-authorization-server"] = says(`{"issuer":"https://else.example"}`)
	if _, err := s.fetch(t, s.URL); err == nil || err.Reason != metadata.OtherIssuer {
		t.Errorf("%+v", err)
	}
	s.at["/.well-known/oauth-authorization-server"] = nil
	if _, err := s.fetch(t, s.URL); err == nil || err.Reason != metadata.Malformed {
		t.Errorf("%+v", err)
	}
}

func TestWhatCannotBeAnIssuerIsNotAsked(t *testing.T) {
	client := &http.Client{Transport: refuse(func(*http.Request) error { t.Error("was asked"); return errors.New("no") })}
	for _, issuer := range []string{
		"", "login.example.com", "ftp://login.example.com", "https://", "https:login.example.com", "https://u:p@login.example.com",
		"https://login.example.com?x", "https://login.example.com/?", "https://login.example.com#", "https://login.example.com/a b",
		"https://login.example.com/.well-known/openid-configuration", "https://login.example.com/" + strings.Repeat("x", 2048),
	} {
		_, err := metadata.Fetch(t.Context(), client, issuer)
		if e, ok := errors.AsType[*metadata.Error](err); !ok || e.Reason != metadata.NoIssuer {
			t.Errorf("%q: %v", issuer, err)
		}
	}
}

// proves: A-7
func TestIssuerAtAPrivateAddressIsRefused(t *testing.T) {
	s := newServer(t)
	_, err := metadata.Fetch(t.Context(), s.client(false), s.URL)
	if e, ok := errors.AsType[*metadata.Error](err); !ok || e.Reason != metadata.Refused || !errors.Is(err, egress.ErrAddress) || len(s.asked) != 0 {
		t.Errorf("%v, asked %q", err, s.asked)
	}
}

func TestHostThatCannotBeReached(t *testing.T) {
	s := newServer(t)
	untrusting := egress.NewClient(egress.Config{Policy: egress.Policy{AllowPrivate: true}})
	_, err := metadata.Fetch(t.Context(), untrusting, s.URL)
	if e, ok := errors.AsType[*metadata.Error](err); !ok || e.Reason != metadata.Untrusted {
		t.Errorf("a certificate that nobody trusts: %v", err)
	}
	gone := newServer(t)
	gone.Close()
	_, err = metadata.Fetch(t.Context(), gone.client(true), gone.URL)
	if e, ok := errors.AsType[*metadata.Error](err); !ok || e.Reason != metadata.Unreachable || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody listens: %v", err)
	}
	// The caller's patience bounds it too, and no further place is asked then.
	hanging := newServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	hanging.at["/.well-known/openid-configuration"] = func(http.ResponseWriter, *http.Request) { cancel() }
	_, err = metadata.Fetch(ctx, hanging.client(true), hanging.URL)
	if e, ok := errors.AsType[*metadata.Error](err); !ok || e.Reason != metadata.Unreachable && e.Reason != metadata.Malformed {
		t.Errorf("given up: %v", err)
	}
}

func TestCheckTellsWhatAClientCannotUse(t *testing.T) {
	for _, tt := range []struct {
		document string
		want     []string // none: good
	}{
		{`{"issuer":"https://a.example","authorization_endpoint":"https://a.example/authorize","token_endpoint":"https://b.example/token?x=y"}`, nil},
		{`{"issuer":"http://127.0.0.1:1","authorization_endpoint":"http://127.0.0.1:1/authorize","token_endpoint":"http://127.0.0.1:1/token","userinfo_endpoint":null,"scopes_supported":null}`, nil},
		{`{"issuer":"https://a.example"}`, []string{"authorization_endpoint is missing", "token_endpoint is missing"}},
		{`{"issuer":"https://a.example","authorization_endpoint":"http://a.example/authorize","token_endpoint":"/token","userinfo_endpoint":"https://u:p@a.example","revocation_endpoint":"https://a.example/#x"}`, []string{
			"authorization_endpoint: want https", "token_endpoint: want an absolute URL", "userinfo_endpoint: want a URL without user information", "revocation_endpoint: want a URL without user information and fragment",
		}},
		{`{"issuer":"https://a.example","authorization_endpoint":"javascript:alert(1)","token_endpoint":7,"scopes_supported":"a b"}`, []string{
			"authorization_endpoint: want", "token_endpoint is of another type", "scopes_supported is of another type",
		}},
	} {
		d, err := metadata.Parse([]byte(tt.document))
		if err != nil {
			t.Errorf("%s: %v", tt.document, err)
			continue
		}
		err = d.Check()
		if (err == nil) != (len(tt.want) == 0) {
			t.Errorf("%s: %v", tt.document, err)
		}
		for _, want := range tt.want {
			if err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", tt.document, err, want)
			}
		}
		if err != nil && strings.Count(err.Error(), "\n") != len(tt.want)-1 {
			t.Errorf("%s: more than was wanted:\n%v", tt.document, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"issuer":"https://a.example","authorization_endpoint":"https://a.example/authorize","token_endpoint":"https://a.example/token","scopes_supported":["a"],"authorization_response_iss_parameter_supported":true}`))
	f.Add([]byte(`{"issuer":"a","issuer":"b"}`))
	f.Add([]byte(`{"issuer":null,"scopes_supported":[1]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := metadata.Parse(data)
		if (d == nil) == (err == nil) {
			t.Fatalf("%v and %v", d, err)
		}
		if err != nil {
			return
		}
		if d.Issuer == "" {
			t.Error("a document without an issuer")
		}
		if d.Check() != nil {
			return
		}
		text, err := d.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := metadata.Parse(text)
		if err != nil || !reflect.DeepEqual(again, d) {
			t.Fatalf("%s reads %+v, %v; it was %+v", text, again, err, d)
		}
		for _, endpoint := range []string{d.AuthorizationEndpoint, d.TokenEndpoint} {
			if !strings.HasPrefix(strings.ToLower(endpoint), "http") || strings.ContainsAny(endpoint, " \n\r\x00#") {
				t.Errorf("%q passed", endpoint)
			}
		}
	})
}

type refuse func(*http.Request) error

func (f refuse) RoundTrip(r *http.Request) (*http.Response, error) { return nil, f(r) }
