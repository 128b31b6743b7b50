package transcript

import (
	"bytes"
	"testing"
)

func TestNoSecretIsPrintedWhole(t *testing.T) {
	const tail = "Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MEFCQ0RFRg"
	tests := []struct{ name, text, want string }{
		{"ATH token", "Bearer ath_tk_" + tail, "Bearer ath_tk_Zm9v…"},
		{"ATH token with _ early in it", "ath_tk_41Xr_" + tail, "ath_tk_41Xr…"},
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
	out := &Transcript{W: &printed}
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
