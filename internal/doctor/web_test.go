package doctor

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/config"
)

func TestWhyAHostDoesNotAnswer(t *testing.T) {
	plain, overTLS := httptest.NewServer(http.NotFoundHandler()), httptest.NewTLSServer(http.NotFoundHandler())
	defer plain.Close()
	defer overTLS.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(overTLS.Certificate())
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for name, tt := range map[string]struct {
		url         string
		roots       *x509.CertPool
		cause, cure string
	}{
		"another CA":   {overTLS.URL, nil, "does not hold", "the cure for CAs"},
		"another name": {strings.Replace(overTLS.URL, "127.0.0.1", "localhost", 1), trusted, "is for another name", "correct KEY"},
		"no TLS":       {strings.Replace(plain.URL, "http:", "https:", 1), trusted, "does not speak TLS", "correct KEY"},
		"nobody":       {"http://" + closed.Addr().String(), nil, "nothing listens at", "start the server there; or correct KEY"},
		"no such host": {"http://nowhere.invalid", nil, "does not resolve here", "correct KEY"},
	} {
		u, err := url.Parse(tt.url)
		if err != nil {
			t.Fatal(err)
		}
		a := newWeb().head(t.Context(), u, newHTTPClient(tt.roots))
		if a.err == nil {
			t.Errorf("%s: it answers %d", name, a.status)
			continue
		}
		cause, cure := whyNot(a.err, u.Host, "KEY", "the cure for CAs")
		if !strings.Contains(cause, tt.cause) || !strings.Contains(cure, tt.cure) {
			t.Errorf("%s: %s; %s (%v)", name, cause, cure, a.err)
		}
	}
}

// Servers see no query, credentials or body, and each URL is asked once.
func TestServersAreAskedOnceAndForNothing(t *testing.T) {
	asked := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if r.Method != http.MethodHead || r.URL.RawQuery != "" || r.Header.Get("Authorization") != "" {
			t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
		}
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	defer s.Close()
	u, err := url.Parse(strings.Replace(s.URL, "//", "//user:secret@", 1) + "/authorize?client_id=x")
	if err != nil {
		t.Fatal(err)
	}
	w := newWeb()
	for range 3 {
		if a := w.head(t.Context(), u, w.client); a.err != nil || a.status != http.StatusFound || a.date.IsZero() {
			t.Errorf("%+v", a)
		}
	}
	if asked != 1 {
		t.Errorf("it was asked %d times", asked)
	}
}

func TestACertificateThatEndsSoonIsWarnedOf(t *testing.T) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	a := newWeb().head(t.Context(), u, newHTTPClient(roots))
	end := s.Certificate().NotAfter
	if _, is := expires(a.tls, end.Add(-soon-time.Hour)); is {
		t.Error("weeks before its end it is warned of")
	}
	if cause, is := expires(a.tls, end.Add(-time.Hour)); !is || !strings.Contains(cause, "the certificate ends at ") {
		t.Errorf("an hour before its end: %q", cause)
	}
}

// A gateway whose consent pages have a host of their own, on one server: the
// names tell them apart.
func TestTheConsentHostServesNothingElse(t *testing.T) {
	for name, tt := range map[string]struct {
		pages, alone bool
		status       Status
		id, cause    string
	}{
		"as it should be":         {true, true, OK, "consent.pages", ""},
		"the pages are not there": {false, true, Fault, "consent.pages", "is not answered by athd"},
		"something else is, too":  {true, false, Fault, "consent.alone", "a script there could consent in a user's name"},
	} {
		t.Run(name, func(t *testing.T) {
			var s *httptest.Server
			s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				apart := strings.HasPrefix(r.Host, "localhost")
				switch {
				case apart && r.URL.Path == ath.ConsentStartPath && tt.pages:
					w.Header().Set("X-ATH-Decision-ID", "dec_1")
					w.WriteHeader(http.StatusBadRequest)
				case apart && tt.alone, apart && r.URL.Path == ath.ConsentStartPath:
					http.NotFound(w, r)
				default:
					fmt.Fprintf(w, `{"gateway_id":%q,"consent_origin":%q}`, s.URL, strings.Replace(s.URL, "127.0.0.1", "localhost", 1))
				}
			}))
			defer s.Close()
			found := all(t, Config{PublicURL: s.URL})
			wants(t, found, tt.id, tt.status, tt.cause, map[Status]string{Fault: "athd bootstrap"}[tt.status])
		})
	}
}

// From outside, providers are those that athd lists.
func TestProvidersOfARunningAthd(t *testing.T) {
	as := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/broken" {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	defer as.Close()
	list := api.ProviderList{Destination: "route", Providers: []api.Provider{
		{ID: "good", AuthorizeEndpoint: as.URL + "/authorize", TokenEndpoint: as.URL + "/token", APIBase: as.URL},
		{ID: "bad", AuthorizeEndpoint: as.URL + "/broken", TokenEndpoint: "https://nowhere.invalid/token", APIBase: as.URL},
	}}
	for range 100 {
		list.Providers = append(list.Providers, api.Provider{ID: fmt.Sprintf("p%d", len(list.Providers)), APIBase: as.URL})
	}
	found := all(t, Config{Ask: answers(map[string]any{ath.AdminProvidersPath: list})})
	wants(t, found, "providers.good", OK, "", "")
	wants(t, found, "providers.bad.authorize", Warning, "with HTTP status 502", "look into that server's log")
	wants(t, found, "providers.bad.token", Fault, "does not resolve here", "correct token_endpoint of bad in providers_file")
	wants(t, found, "providers.all", NotAsked, "52 of 102 are left out", "")
}

func TestWhatAnIssuerSaysOfItself(t *testing.T) {
	for name, tt := range map[string]struct {
		document    string // of SERVER; "": none
		status      Status
		cause, cure string
	}{
		"as configured":     {`{"issuer":"SERVER","authorization_endpoint":"SERVER/authorize","token_endpoint":"SERVER/token"}`, OK, "", ""},
		"another name":      {`{"issuer":"SERVER/","authorization_endpoint":"SERVER/authorize","token_endpoint":"SERVER/token"}`, Fault, "they differ by the slash at the end", `correct issuer of shop in athd.yaml, apps: "SERVER/"`},
		"another endpoint":  {`{"issuer":"SERVER","authorization_endpoint":"SERVER/authorize","token_endpoint":"SERVER/oauth/token"}`, Warning, `it says that its token_endpoint is "SERVER/oauth/token"`, `token_endpoint of shop in athd.yaml, apps: "SERVER/oauth/token"`},
		"no metadata":       {"", Warning, "ID tokens", "leave it out if that server has no metadata"},
		"something hostile": {`{"issuer":"SERVER","issuer":"` + "\x1b" + `"}`, Warning, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var s *httptest.Server
			s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if tt.document == "" || !strings.HasSuffix(r.URL.Path, "/openid-configuration") {
					http.NotFound(w, r)
					return
				}
				fmt.Fprint(w, strings.ReplaceAll(tt.document, "SERVER", s.URL))
			}))
			defer s.Close()
			at := func(path string) *url.URL {
				u, err := url.Parse(s.URL + path)
				if err != nil {
					t.Fatal(err)
				}
				return u
			}
			d, f := &doctor{Config: Config{Settings: &config.Settings{}}, web: newWeb()}, &findings{subject: "providers"}
			d.issuer(t.Context(), &source{id: "shop", file: "athd.yaml, apps", issuer: s.URL, authorize: at("/authorize"), token: at("/token")}, f)
			wants(t, f.all, "providers.shop.issuer", tt.status, strings.ReplaceAll(tt.cause, "SERVER", s.URL), strings.ReplaceAll(tt.cure, "SERVER", s.URL))
		})
	}
}
