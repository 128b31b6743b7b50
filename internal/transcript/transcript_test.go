package transcript

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/athd/athd/internal/wire"
)

func TestNoSecretIsPrintedWhole(t *testing.T) {
	const tail = "Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MEFCQ0RFRg"
	tests := []struct{ name, text, want string }{
		{"a renewal", "ath_rt_AbCdEfGhIjKl_0123456789", "ath_rt_AbCd…"},
		{"a link that heals", "https://gw.example/ath/heal/AbCdEfGhIjKlMnOp", "https://gw.example/ath/heal/AbCdEf…"},
		{"ATH token", "Bearer ath_tk_" + tail, "Bearer ath_tk_Zm9v…"},
		{"ATH token with _ early in it", "ath_tk_41Xr_" + tail, "ath_tk_41Xr…"},
		{"renewal token", `"refresh_token": "ath_rt_` + tail + `",`, `"refresh_token": "ath_rt_Zm9v…",`},
		{"client secret", `"client_secret": "ath_secret_` + tail + `",`, `"client_secret": "ath_secret_Zm9v…",`},
		{"code", "ath_code_" + tail + " now", "ath_code_Zm9v… now"},
		{"session", "?ath_session_id=ath_sess_" + tail + "&x=1", "?ath_session_id=ath_sess_Zm9v…&x=1"},
		{"OAuth token", "Bearer user_ABCDEFGHIJKLMNOPQRSTUVWXYZ", "Bearer user_ABC…"},
		{"refresh token", "refresh_ABCDEFGHIJKLMNOPQRSTUVWXYZ", "refresh_…"},
		{"OAuth code", "/cb?code=code_ABCDEFGHIJKLMNOPQRSTUVWXYZ&iss=x", "/cb?code=code_ABC…&iss=x"},
		{"attestation", "eyJhbGciOi.eyJzdWIi-_.c2ln-_", "eyJhbGci…"},
		{"HTTP Basic", "Authorization: Basic YXRoX2NsaWVudDphdGhfc2VjcmV0XzEyMzQ=", "Authorization: Basic YXRo…"},
		{"state", "?state=" + tail + "&scope=a", "?state=Zm9vYm…&scope=a"},
		{"state in JSON", `{"state": "` + tail + `", "x": 1}`, `{"state": "Zm9vYm…", "x": 1}`},
		{"client secret at an OAuth server", `"client_secret":"` + tail + `","x":1`, `"client_secret":"Zm9vYm…","x":1`},
		{"challenge", "code_challenge=" + tail + "&code_challenge_method=S256", "code_challenge=Zm9vYm…&code_challenge_method=S256"},
		{"nothing secret", "products:read ath_session_id code_challenge_method user_consented", "products:read ath_session_id code_challenge_method user_consented"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := Shorten(test.text); got != test.want {
				t.Errorf("Shorten = %q, want %q", got, test.want)
			}
		})
	}
}

func TestChecksThatFailAreKept(t *testing.T) {
	var printed bytes.Buffer
	out := &Transcript{W: &printed, Verbose: true}
	out.Step("one")
	out.Check(true, "this holds", nil)
	out.Step("two")
	out.Check(false, "that holds", 42)
	if got := out.Failures(); len(got) != 1 || got[0] != "  step 2: that holds — but got 42" || out.Checks != 2 {
		t.Errorf("failures = %q of %d", got, out.Checks)
	}
	if want := "\n1. one\n   ✓ this holds\n\n2. two\n   ✗ that holds — but got 42\n"; printed.String() != want {
		t.Errorf("printed %q", printed.String())
	}
}

func TestListsAreOnOneLine(t *testing.T) {
	const in = "{\n  \"a\": [\n    \"x\",\n    \"y\"\n  ],\n  \"b\": [\n    1\n  ]\n}"
	if got, want := foldLists(in), "{\n  \"a\": [ \"x\", \"y\" ],\n  \"b\": [\n    1\n  ]\n}"; got != want {
		t.Errorf("foldLists = %q, want %q", got, want)
	}
}

func TestStepIsOneLineWithoutVerbose(t *testing.T) {
	var out strings.Builder
	tr := &Transcript{W: &out}
	ex := &wire.Exchange{Method: "POST", URL: "https://gw.example/ath/token?x=1", Status: 403, Reply: []byte(`{"code":"USER_DENIED","message":"no"}`)}
	tr.Step("Token")
	tr.Exchange(ex)
	tr.Check(true, "all is well", nil)
	tr.End(true)
	tr.Step("Call")
	tr.Check(false, "it passes", "ath_tk_Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MEFCQ0RFRg")
	tr.End(true)
	tr.Step("Revoke")
	tr.End(false)
	want := "\n1. Token (POST /ath/token 403 USER_DENIED) ✓\n2. Call ✗\n   ✗ it passes — but got ath_tk_Zm9v…\n3. Revoke ✗\n"
	if out.String() != want || tr.Checks != 2 || len(tr.Failures()) != 1 {
		t.Errorf("printed\n%swant\n%s", &out, want)
	}
}

func TestVerboseShowsTheBytes(t *testing.T) {
	var out strings.Builder
	tr := &Transcript{W: &out, Verbose: true}
	tr.Step("Token")
	tr.Exchange(&wire.Exchange{Method: "POST", URL: "https://gw.example/ath/token", Sent: http.Header{"Accept": {"x"}, "X-Ath-User-Token": {"operators-token"}}, Status: 200, Reply: []byte(`{"a":1}`)})
	tr.Check(true, "all is well", nil)
	tr.End(true)
	for _, want := range []string{"\n1. Token\n", "→ POST https://gw.example/ath/token\n", "Accept: x", "X-ATH-User-Token: operat…\n", "← 200 OK", `"a": 1`, "✓ all is well"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, &out)
		}
	}
}
