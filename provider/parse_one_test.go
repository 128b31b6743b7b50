package provider

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/egress"
	"github.com/athd/athd/strict"
)

// shopDocument is a provider as the operator's API takes it, with some members
// replaced; nil takes one away.
func shopDocument(t testing.TB, with map[string]any) []byte {
	t.Helper()
	all := map[string]any{
		"provider_id": "shop", "display_name": "The Shop", "categories": []string{"shopping"}, "available_scopes": []string{"orders:read"},
		"authorize_endpoint": "https://login.shop.example/authorize", "token_endpoint": "https://login.shop.example/token",
		"api_base_url": "https://api.shop.example/v1", "client_id": "athd", "client_secret": "s3cret-of-the-shop",
	}
	for name, value := range with {
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	data, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestAProviderAddedAtRuntimeIsWhatTheFileWouldHave(t *testing.T) {
	document := shopDocument(t, nil)
	one, faults := ParseOne("", document, Options{})
	if faults != nil {
		t.Fatal(faults)
	}
	var fields map[string]any
	if err := json.Unmarshal(document, &fields); err != nil {
		t.Fatal(err)
	}
	delete(fields, "provider_id")
	file, err := json.Marshal(map[string]any{"shop": fields})
	if err != nil {
		t.Fatal(err)
	}
	all, faults := Parse("providers.json", file, Options{})
	if faults != nil {
		t.Fatal(faults)
	}
	if !one.Runtime || all[0].Runtime {
		t.Errorf("of run time: %v and %v", one.Runtime, all[0].Runtime)
	}
	one.Runtime = false
	if got, want := fmt.Sprintf("%+v %s", *one, one.ClientSecret.Reveal()), fmt.Sprintf("%+v %s", *all[0], all[0].ClientSecret.Reveal()); normal(got) != normal(want) {
		t.Errorf("it is\n%s\nand of the file\n%s", got, want)
	}
	if again, faults := ParseOne("shop", shopDocument(t, map[string]any{"provider_id": nil}), Options{}); faults != nil || again.ID != "shop" || again.Destination() != one.Destination() {
		t.Errorf("with its id from elsewhere: %v, %v", again, faults)
	}
}

// normal leaves addresses of pointers out.
func normal(s string) string {
	words := strings.Fields(s)
	for i, w := range words {
		if name, _, ok := strings.Cut(w, ":0x"); ok {
			words[i] = name
		}
	}
	return strings.Join(words, " ")
}

func TestFaultsOfAProviderAddedAtRuntimeHaveJSONPointers(t *testing.T) {
	for name, c := range map[string]struct {
		with map[string]any
		want []string
	}{
		"several at once": {map[string]any{"client_id": nil, "client_secret": nil, "display_name": ""},
			[]string{"/client_id is missing", "/client_secret is missing", "/display_name is empty"}},
		"no id":               {map[string]any{"provider_id": nil}, []string{"/provider_id is missing"}},
		"an id that is none":  {map[string]any{"provider_id": "The Shop"}, []string{"/provider_id an id starts with a-z or 0-9, followed by at most 62 of a-z, 0-9, _ and -"}},
		"the reserved id":     {map[string]any{"provider_id": "default"}, []string{`/provider_id the id "default" is reserved`}},
		"an unknown member":   {map[string]any{"clientid": "x"}, []string{`/clientid unknown key "clientid", did you mean "client_id"?`}},
		"a wrong type":        {map[string]any{"available_scopes": "orders:read"}, []string{"/available_scopes want a list, got text"}},
		"a wrong type within": {map[string]any{"available_scopes": []any{"a", 7}}, []string{"/available_scopes/1 want text, got a number"}},
		"a rule": {map[string]any{"scope_rules": []any{
			map[string]any{"scope": "orders:read", "methods": []string{"GET"}, "paths": []string{"/orders/"}},
			map[string]any{"scope": "carts", "methods": []string{"FETCH"}, "paths": []string{"/c~/d"}},
		}}, []string{"/scope_rules/0/paths/0 want a path", "/scope_rules/1/scope is not one of available_scopes", "/scope_rules/1/methods/0 want GET"}},
		"a member with a slash":       {map[string]any{"extra_authorize_params": map[string]string{"a/b~c": strings.Repeat("x", 3000)}}, []string{"/extra_authorize_params/a~1b~0c want names"}},
		"http":                        {map[string]any{"token_endpoint": "http://login.shop.example/token"}, []string{"/token_endpoint want an https URL"}},
		"an http API":                 {map[string]any{"api_base_url": "http://api.shop.example"}, []string{"/api_base_url want an https URL"}},
		"a secret from the environ":   {map[string]any{"client_secret": "${SHOP_SECRET}"}, []string{"/client_secret environment variables are not read here: write the value itself, or $${ for a plain ${"}},
		"a URL from the environment":  {map[string]any{"api_base_url": "https://${HOST}/v1"}, []string{"/api_base_url environment variables are not read here"}},
		"a file of athd's":            {map[string]any{"client_secret": nil, "client_secret_file": "/etc/athd/secret"}, []string{"/client_secret_file is for providers of files"}},
		"a private issuer":            {map[string]any{"issuer": "https://login.shop.example", "token_endpoint": nil, "allow_private_issuer": true}, []string{"/allow_private_issuer is for providers of files"}},
		"a misspelt preset":           {map[string]any{"preset": "gitbub"}, []string{"/preset want one of"}},
		"an API on this machine":      {map[string]any{"api_base_url": "https://127.0.0.1:8443"}, []string{"/api_base_url is at an address that is not public"}},
		"an API named localhost":      {map[string]any{"api_base_url": "https://localhost:8443"}, []string{"/api_base_url is at an address that is not public"}},
		"a name below localhost":      {map[string]any{"api_base_url": "https://x.localhost"}, []string{"/api_base_url is at an address that is not public"}},
		"a token endpoint inside":     {map[string]any{"token_endpoint": "https://10.0.0.5/token"}, []string{"/token_endpoint is at an address that is not public"}},
		"userinfo at the metadata":    {map[string]any{"userinfo_endpoint": "https://169.254.169.254/latest"}, []string{"/userinfo_endpoint is at an address that is not public"}},
		"revocation at ::1":           {map[string]any{"revocation_endpoint": "https://[::1]/revoke"}, []string{"/revocation_endpoint is at an address that is not public"}},
		"revocation, mapped":          {map[string]any{"revocation_endpoint": "https://[::ffff:127.0.0.1]/revoke"}, []string{"/revocation_endpoint an IPv4 address must be written as one"}},
		"a public API, mapped":        {map[string]any{"api_base_url": "https://[::ffff:8.8.8.8]"}, []string{"/api_base_url an IPv4 address must be written as one"}},
		"an address as one number":    {map[string]any{"api_base_url": "https://2130706433"}, []string{"/api_base_url the host is a number"}},
		"an issuer inside":            {map[string]any{"issuer": "https://192.168.0.1", "token_endpoint": nil}, []string{"/issuer is at an address that is not public"}},
		"what some read as 127.0.0.1": {map[string]any{"api_base_url": "https://127.1"}, []string{"/api_base_url the host is a number"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, faults := ParseOne("", shopDocument(t, c.with), Options{})
			if p != nil || len(faults) != len(c.want) {
				t.Fatalf("%v, %d faults: %v", p, len(faults), faults)
			}
			var got []string
			for _, f := range faults {
				got = append(got, f.Pointer+" "+f.Message)
			}
			for _, want := range c.want {
				if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, want) }) {
					t.Errorf("got %q, want %q", got, want)
				}
			}
		})
	}
}

func TestADocumentThatIsNoProviderIsRefusedWhole(t *testing.T) {
	for name, c := range map[string]struct{ data, want string }{
		"nothing":        {"", " the file is empty"},
		"not JSON":       {"{", " not valid JSON"},
		"a list":         {"[]", " want an object"},
		"a member twice": {`{"client_id": "a", "client_id": "b"}`, `/client_id key "client_id" is given twice`},
		"too large":      {`{"display_name": "` + strings.Repeat("x", MaxBytes) + `"}`, " is larger than 65536 bytes"},
		"not UTF-8":      {"{\"display_name\": \"\xff\"}", " the file is not UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			p, faults := ParseOne("shop", []byte(c.data), Options{})
			if p != nil || !slices.ContainsFunc(faults, func(f strict.Fault) bool { return strings.HasPrefix(f.Pointer+" "+f.Message, c.want) }) {
				t.Errorf("%v, %v", p, faults)
			}
		})
	}
}

func TestAPathKeepsItsProvidersID(t *testing.T) {
	_, faults := ParseOne("depot", shopDocument(t, nil), Options{})
	if len(faults) != 1 || faults[0].Pointer != "/provider_id" || !strings.Contains(faults[0].Message, "keeps its id") {
		t.Errorf("%+v", faults)
	}
}

// What athd.yaml excepts may be reached, by TLS, and in the clear where it says so.
func TestEgressExceptionsAreOfTheOperatorsFile(t *testing.T) {
	allow := Options{Egress: egress.Policy{Allow: []egress.Exception{
		{Addresses: netip.MustParsePrefix("10.20.0.0/16"), Port: 8443}, {Addresses: netip.MustParsePrefix("10.30.0.0/16"), HTTP: true},
	}}}
	for base, want := range map[string]bool{
		"https://10.20.1.1:8443": true, "https://10.20.1.1": false, "https://10.21.1.1:8443": false, "http://10.20.1.1:8443": false,
		"http://10.30.1.1": true, "https://10.30.1.1": true, "http://name.example": true, // judged when it is dialled
	} {
		_, faults := ParseOne("", shopDocument(t, map[string]any{"api_base_url": base}), allow)
		if (faults == nil) != want {
			t.Errorf("%s: %v", base, faults)
		}
	}
}

// proves: O-1
//
// An operator's own variables and files are not read for whoever sends a document,
// whatever the options are that files are read with.
func TestNothingOfThisMachineIsReadForADocument(t *testing.T) {
	opt := Options{
		Env:      func(string) (string, bool) { t.Error("a variable was read"); return "x", true },
		ReadFile: func(string) ([]byte, error) { t.Error("a file was read"); return []byte("x"), nil },
	}
	for _, with := range []map[string]any{
		{"client_secret": "${HOME}"}, {"client_secret": nil, "client_secret_file": "x"}, {"client_secret_file": "x"},
	} {
		if p, faults := ParseOne("", shopDocument(t, with), opt); p != nil || len(faults) != 1 {
			t.Errorf("%v: %v", with, faults)
		}
	}
	p, faults := ParseOne("", shopDocument(t, map[string]any{"client_secret": "a$${b}c-and-more"}), opt)
	if faults != nil || p.ClientSecret.Reveal() != "a${b}c-and-more" {
		t.Errorf("the escape of files: %v", faults)
	}
}

func TestWarningsOfADocumentHavePointers(t *testing.T) {
	var warned strict.Faults
	_, faults := ParseOne("", shopDocument(t, map[string]any{"scope_rules": []any{
		map[string]any{"scope": "orders:read", "methods": []string{"GET"}, "paths": []string{"/orders/**"}},
		map[string]any{"scope": "orders:read", "methods": []string{"GET"}, "paths": []string{"/orders/*"}},
	}}), Options{Warn: func(f strict.Fault) { warned = append(warned, f) }})
	if faults != nil || len(warned) != 1 || warned[0].Pointer != "/scope_rules/1" || !strings.HasPrefix(warned[0].Message, "is redundant") {
		t.Errorf("%v, %+v", faults, warned)
	}
}

func FuzzParseOne(f *testing.F) {
	f.Add("", shopDocument(f, nil))
	f.Add("shop", shopDocument(f, map[string]any{"provider_id": nil, "preset": "github", "extra_token_params": map[string]string{"a": "${B}"}}))
	f.Add("shop", []byte(`{"issuer": "https://a.example", "client_id": "a", "client_id": "b", "renewal": {"max": "1d"}, "api_base_url": "https://[::ffff:10.0.0.1]"}`))
	f.Fuzz(func(t *testing.T, id string, data []byte) {
		p, faults := ParseOne(id, data, Options{
			Env:      func(string) (string, bool) { t.Error("a variable was read"); return "", false },
			ReadFile: func(string) ([]byte, error) { t.Error("a file was read"); return nil, nil },
		})
		if (p == nil) != (len(faults) > 0) {
			t.Fatalf("%v and %v", p, faults)
		}
		for _, fault := range faults {
			if fault.Pointer != "" && fault.Pointer[0] != '/' {
				t.Errorf("%q is no JSON Pointer", fault.Pointer)
			}
		}
		if p == nil {
			return
		}
		if !p.Runtime || p.App != nil || !ValidID(p.ID) || p.PrivateIssuer {
			t.Errorf("%+v", p)
		}
		if p.APIBase.Scheme != "https" || p.TokenURL != nil && p.TokenURL.Scheme != "https" {
			t.Errorf("in the clear: %v, %v", p.APIBase, p.TokenURL)
		}
	})
}
