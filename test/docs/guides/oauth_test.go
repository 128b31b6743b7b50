package guides

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/athd/athd/internal/oauthserver"
	"github.com/athd/athd/test/harness/stage"
	"github.com/athd/athd/test/harness/standins"
)

// habits are what an OAuth server does in its own way.
type habits struct {
	authorize, token, userinfo string            // its paths; "": the demo's
	iss                        string            // path of its issuer; "-": it sends no iss
	wants                      map[string]string // parameters that it refuses to do without
	userID                     string            // the field of userinfo; "": sub
	metadata                   string            // path of the issuer that its metadata is below, at OpenID's place; "": the demo's own
}

// servers are the hosts of the guides, as their documentation has them.
var servers = map[string]habits{
	"login.example.com": {},
	"tracker.example":   {authorize: "/oauth/authorize", token: "/oauth/token"},
	"tenant.eu.auth0.com": {
		token: "/oauth/token", iss: "-", metadata: "/", wants: map[string]string{"audience": "https://api.example.com"},
	},
	"clerk.example.com": {
		authorize: "/oauth/authorize", token: "/oauth/token", userinfo: "/oauth/userinfo", iss: "-", userID: "user_id",
	},
	"keycloak.example.com": {
		authorize: "/realms/shop/protocol/openid-connect/auth", token: "/realms/shop/protocol/openid-connect/token", iss: "/realms/shop", metadata: "/realms/shop",
	},
}

// startOAuth starts the demo's OAuth server with these habits.
func startOAuth(t *testing.T, h habits, callback string) string {
	t.Helper()
	front := httptest.NewUnstartedServer(nil)
	issuer := "http://" + front.Listener.Addr().String()
	var clients []oauthserver.Client
	for _, id := range []string{"athd", "athd-demo", standins.ClientID} {
		clients = append(clients, oauthserver.Client{
			ID: id, Secret: standins.ClientSecret, RedirectURIs: []string{callback},
			Scopes: []string{"products:read", "orders:read", "profile", "email", "issues:read", "issues:write", "openid"},
		})
	}
	server, err := oauthserver.New(oauthserver.Config{
		Issuer: issuer, Clients: clients,
		Users: []oauthserver.User{{ID: stage.UserID, Name: stage.User, Password: stage.Password}},
	})
	if err != nil {
		t.Fatal(err)
	}
	front.Config.Handler = h.before(server, issuer)
	front.Start()
	t.Cleanup(front.Close)
	return issuer
}

// before puts the habits before the server.
func (h habits) before(server http.Handler, issuer string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		server.ServeHTTP(&answer{w, h, issuer}, r)
	})
	for theirs, ours := range map[string]string{h.authorize: "/authorize", h.token: "/token", h.userinfo: "/userinfo"} {
		if theirs != "" {
			mux.HandleFunc(theirs, func(w http.ResponseWriter, r *http.Request) {
				r.URL.Path, r.RequestURI = ours, ours+"?"+r.URL.RawQuery
				h.serve(server, issuer, w, r)
			})
		}
	}
	if h.metadata != "" {
		mux.HandleFunc("GET "+strings.TrimSuffix(h.metadata, "/")+"/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
			json.NewEncoder(w).Encode(map[string]any{
				"issuer": issuer + h.metadata, "authorization_endpoint": issuer + cmp.Or(h.authorize, "/authorize"), "token_endpoint": issuer + cmp.Or(h.token, "/token"),
				"token_endpoint_auth_methods_supported":          []string{"client_secret_basic", "client_secret_post"},
				"authorization_response_iss_parameter_supported": h.iss != "-",
			})
		})
	}
	if h.authorize == "" {
		mux.HandleFunc("GET /authorize", func(w http.ResponseWriter, r *http.Request) { h.serve(server, issuer, w, r) })
	}
	return mux
}

func (h habits) serve(server http.Handler, issuer string, w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/authorize" {
		for name, value := range h.wants {
			if r.URL.Query().Get(name) != value {
				http.Error(w, name+" is missing", http.StatusBadRequest)
				return
			}
		}
	}
	if r.URL.Path != "/userinfo" || h.userID == "" {
		server.ServeHTTP(&answer{w, h, issuer}, r)
		return
	}
	got := httptest.NewRecorder()
	server.ServeHTTP(got, r)
	var about map[string]any
	if json.Unmarshal(got.Body.Bytes(), &about) == nil && got.Code == http.StatusOK {
		about[h.userID] = about["sub"]
		delete(about, "sub")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(got.Code)
	json.NewEncoder(w).Encode(about)
}

// An answer sends the user back with the iss that these habits have.
type answer struct {
	http.ResponseWriter
	habits habits
	issuer string
}

func (a *answer) WriteHeader(status int) {
	if back, err := url.Parse(a.Header().Get("Location")); err == nil && back.Query().Has("iss") {
		q := back.Query()
		if q.Set("iss", a.issuer+a.habits.iss); a.habits.iss == "-" {
			q.Del("iss")
		}
		back.RawQuery = q.Encode()
		a.Header().Set("Location", back.String())
	}
	a.ResponseWriter.WriteHeader(status)
}
