package api_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/athd/athd/ath/api"
)

func TestSecretIsEncodedWholeAndPrintsRedacted(t *testing.T) {
	const token = "ath_tk_0123456789"
	reply := api.TokenReply{AccessToken: api.NewSecret(token), TokenType: "Bearer"}
	text, err := json.Marshal(reply)
	if err != nil || !strings.Contains(string(text), `"access_token":"`+token+`"`) {
		t.Errorf("encoded as %s, %v", text, err)
	}
	var back api.TokenReply
	if err := json.Unmarshal(text, &back); err != nil || back.AccessToken.Reveal() != token {
		t.Errorf("decoded as %q, %v", back.AccessToken.Reveal(), err)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "token", reply.AccessToken)
	for _, printed := range []string{
		fmt.Sprintf("%v", reply), fmt.Sprintf("%+v", reply), fmt.Sprintf("%#v", reply), fmt.Sprintf("%s %q %x", reply.AccessToken, reply.AccessToken, reply.AccessToken), log.String(),
	} {
		if strings.Contains(printed, token) || !strings.Contains(printed, "redacted") {
			t.Errorf("printed as %s", printed)
		}
	}
}

// A handler that writes JSON encodes what it is given, and a body is encoded whole.
func TestBodiesWithSecretsAreLoggedRedacted(t *testing.T) {
	const token = "ath_tk_0123456789"
	s := api.NewSecret(token)
	for _, body := range []any{
		api.RegisterRequest{Attestation: s}, api.RegisterReply{ClientSecret: s}, api.AuthorizeRequest{Attestation: s}, api.AuthorizeReply{Session: s},
		api.TokenRequest{Code: s}, api.TokenReply{AccessToken: s}, api.RevokeRequest{Token: s}, api.ExplainRequest{Token: s},
	} {
		pointer := reflect.New(reflect.TypeOf(body))
		pointer.Elem().Set(reflect.ValueOf(body))
		for _, logged := range []any{body, pointer.Interface()} {
			var log bytes.Buffer
			slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "body", logged)
			slog.New(slog.NewTextHandler(&log, nil)).Info("m", "body", logged)
			if strings.Contains(log.String(), token) || strings.Count(log.String(), "redacted") < 2 {
				t.Errorf("%T is logged as %s", logged, log.String())
			}
		}
	}
}

// Refusals of the server name the field (E-1, details.field).
func TestSecretOfAnotherTypeNamesItsField(t *testing.T) {
	var wrong *json.UnmarshalTypeError
	err := json.Unmarshal([]byte(`{"token":{"a":1}}`), &api.RevokeRequest{})
	if !errors.As(err, &wrong) || wrong.Field != "token" {
		t.Errorf("err = %v", err)
	}
}

func TestWhatIsNotSaidIsNotSent(t *testing.T) {
	for _, tt := range []struct {
		body any
		want string
	}{
		{api.RevokeRequest{Token: api.NewSecret("t")}, `{"token":"t"}`},
		{api.AuthorizeRequest{Scopes: []string{"a"}}, `{"client_id":"","agent_attestation":"","provider_id":"","scopes":["a"],"state":""}`},
		{api.Developer{Name: "n", ID: "i"}, `{"name":"n","id":"i"}`},
		{api.Gateway{Providers: []api.GatewayProvider{}}, `{"ath_version":"","gateway_id":"","agent_registration_endpoint":"","supported_providers":[]}`},
		{api.ApprovedProvider{Approved: []string{}, Denied: []string{}}, `{"provider_id":"","approved_scopes":[],"denied_scopes":[]}`},
	} {
		if got, err := json.Marshal(tt.body); err != nil || string(got) != tt.want {
			t.Errorf("%T is sent as %s, want %s (%v)", tt.body, got, tt.want, err)
		}
	}
}
