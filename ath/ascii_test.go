package ath

import (
	"strings"
	"testing"
)

// Each function is compared with the grammar that it names, byte by byte.
func TestASCIIFunctionsFollowTheirGrammars(t *testing.T) {
	const (
		alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
		uri          = alphanumeric + "-._~" + ":/?#[]@" + "!$&'()*+,;=" + "%" // RFC 3986: unreserved, gen-delims, sub-delims
		tchar        = alphanumeric + "!#$%&'*+-.^_`|~"                        // RFC 9110, section 5.6.2
	)
	for b := range 256 {
		s := string([]byte{byte(b)})
		for name, c := range map[string]struct{ got, want bool }{
			"IsVisible":     {IsVisible(s), 0x21 <= b && b <= 0x7e},
			"IsPrintable":   {IsPrintable(s), 0x20 <= b && b <= 0x7e},
			"ValidURLBytes": {ValidURLBytes(s), strings.IndexByte(uri, byte(b)) >= 0},
			"IsToken":       {IsToken(s), strings.IndexByte(tchar, byte(b)) >= 0},
		} {
			if c.got != c.want {
				t.Errorf("%s(%q) is %v", name, s, c.got)
			}
		}
		for name, f := range map[string]func(string) bool{"IsVisible": IsVisible, "IsPrintable": IsPrintable, "ValidURLBytes": ValidURLBytes, "IsToken": IsToken} {
			if f("a"+s+"b") != f(s) {
				t.Errorf("%s looks at %q otherwise in the middle", name, s)
			}
		}
	}
	if !IsVisible("") || !IsPrintable("") || !ValidURLBytes("") || IsToken("") {
		t.Error("an empty string is judged otherwise than the comments say")
	}
}
