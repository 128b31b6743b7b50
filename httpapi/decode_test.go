package httpapi

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
)

func decodeAs(body string, into any) error {
	read := decode
	switch into.(type) {
	case *api.ApproveRequest, *api.HostRequest, *api.ExplainRequest, *EmptyRequest:
		read = decodeOptional
	}
	return read(httptest.NewRecorder(), httptest.NewRequest("POST", "/", strings.NewReader(body)), into)
}

func TestBodiesAreRefusedByFieldAndReason(t *testing.T) {
	items := func(n int, item string) string { return strings.TrimSuffix(strings.Repeat(item+",", n), ",") }
	for name, c := range map[string]struct {
		into                 any
		body, message, field string
	}{
		"nothing":                     {&api.RegisterRequest{}, ``, "not a JSON object", ""},
		"a list":                      {&api.RegisterRequest{}, `[]`, "not a JSON object", ""},
		"half an object":              {&api.RegisterRequest{}, `{"agent_id":"a"`, "not a JSON object", ""},
		"text that is not UTF-8":      {&api.RegisterRequest{}, "{\"agent_id\":\"\xff\"}", "not a JSON object", ""},
		"two values":                  {&api.RegisterRequest{}, `{} {}`, "more than one JSON value", ""},
		"a wrong type":                {&api.RegisterRequest{}, `{"purpose":7}`, "wrong type", "purpose"},
		"a wrong type further in":     {&api.RegisterRequest{}, `{"developer":{"name":[]}}`, "wrong type", "developer.name"},
		"a wrong type in a list":      {&api.RegisterRequest{}, `{"requested_providers":[{"scopes":["a",1]}]}`, "wrong type", "requested_providers.scopes"},
		"an object for a secret":      {&api.RevokeRequest{}, `{"token":{"a":1}}`, "wrong type", "token"},
		"a number for a secret":       {&api.RevokeRequest{}, `{"token":1}`, "wrong type", "token"},
		"a member twice":              {&api.RegisterRequest{}, `{"purpose":"a","purpose":"a"}`, "a member twice", "purpose"},
		"an unknown one twice":        {&api.RegisterRequest{}, `{"X-Y":"a","X-Y":"a"}`, "a member twice", ""},
		"too many scopes":             {&api.RegisterRequest{}, `{"requested_providers":[{"provider_id":"a","scopes":[` + items(1100, `"a"`) + `]}]}`, "objects, lists and items", "requested_providers.scopes"},
		"too many unknown members":    {&api.RegisterRequest{}, `{` + items(1100, `"a":1`) + `}`, "objects, lists and items", "a"},
		"too many behind a whole one": {&api.RegisterRequest{}, `{"purpose":"a"}` + items(1100, ` `), "objects, lists and items", ""},
		"too many levels":             {&api.RegisterRequest{}, strings.Repeat("[", 9000), "objects, lists and items", ""},
		"too many escapes":            {&api.RegisterRequest{}, `{"purpose":"` + strings.Repeat(`\u0041`, 4100) + `"}`, "escaped characters", ""},
		"an unknown member":           {&api.ApproveRequest{}, `{"provider":[]}`, "may hold providers and expires", ""},
		"another case of a known one": {&api.ApproveRequest{}, `{"Providers":[]}`, "may hold providers and expires", ""},
		"a misspelt host":             {&api.HostRequest{}, `{"hosts":"a"}`, "may hold host, as", ""},
		"a misspelt agent_id":         {&api.ExplainRequest{}, `{"agent":"a"}`, "may hold token, agent_id, method, url and upgrade, as", ""},
		"a body for none":             {&EmptyRequest{}, `{"a":1}`, "may hold nothing", ""},
	} {
		t.Run(name, func(t *testing.T) {
			e, ok := errors.AsType[*ath.Error](decodeAs(c.body, c.into))
			if !ok || e.Code != ath.InvalidRequest || !strings.Contains(e.Message, c.message) || fmt.Sprint(e.Details["field"]) != fmt.Sprint(or(c.field)) {
				t.Errorf("%v, details %v", e, e.Details)
			}
		})
	}
}

// or is the detail that is not there where a field is "".
func or(field string) any {
	if field == "" {
		return nil
	}
	return field
}

func TestBodiesThatMeanSomethingAreRead(t *testing.T) {
	texts := func(n int, text string) string {
		return strings.TrimSuffix(strings.Repeat(`"`+text+`",`, n), ",")
	}
	for name, body := range map[string]string{
		"null for a text":         `{"agent_id":null,"agent_attestation":null,"developer":null,"requested_providers":null}`,
		"null":                    `null`,
		"members of no meaning":   `{"agent_id":"","x":{"y":[1,2,3,null,1e999]}}`,
		"all scopes of providers": `{"requested_providers":[` + strings.TrimSuffix(strings.Repeat(`{"provider_id":"p","scopes":[`+texts(4, `https:\/\/p.example\/a`)+`]},`, 50), ",") + `],"redirect_uris":[` + texts(20, strings.Repeat("r", 2048)) + `]}`,
		"texts of escapes":        `{"purpose":"` + strings.Repeat(`\u4e2d`, 170) + `","developer":{"name":"` + strings.Repeat(`\u4e2d`, 170) + `"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if err := decodeAs(body, &api.RegisterRequest{}); err != nil {
				t.Error(err)
			}
		})
	}
	for _, body := range []string{"", " \n", "{}", "null"} {
		if err := decodeAs(body, &EmptyRequest{}); err != nil {
			t.Errorf("%q: %v", body, err)
		}
	}
}
