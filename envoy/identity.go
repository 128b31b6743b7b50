package envoy

import "strings"

// Headers by which proxies that log people in tell an API who somebody is. An
// API that stands behind such a proxy believes them of whoever sends them: none
// of an agent's goes up. Those of people on an app that is open to them do: what
// is in front of Envoy may have set them.
var (
	identityHeaders = [...]string{
		"x-remote-user", "x-remote-email", "x-remote-groups", "remote-user", "remote-email", "remote-groups", "remote-name",
		"x-client-cert", "x-client-verify", "x-user", "x-user-id", "x-user-email", "x-webauth-user", "x-consumer-username",
		"x-forwarded-user", "x-forwarded-email", "x-forwarded-groups", "x-forwarded-access-token", "x-forwarded-id-token",
		"x-forwarded-preferred-username", "x-forwarded-client-cert",
	}
	identityPrefixes = [...]string{
		"x-auth-request-", "x-authenticated-", "x-authentik-", "x-vouch-", "x-pomerium-", "x-goog-authenticated-", "x-goog-iap-",
		"x-amzn-oidc-", "x-ms-client-principal", "x-ms-token-", "cf-access-", "ssl-client-", "x-ssl-client-", "tailscale-user-",
	}
	// What those that do not begin with x- begin with.
	identityPlainPrefixes = [...]string{"remote-", "cf-access-", "ssl-client-", "tailscale-user-"}
)

// identifies reports whether a name, with hyphens or underscores, is one of
// these.
func identifies(name []byte) bool {
	if len(name) < len("x-user") {
		return false
	}
	// Nearly every name that is none is seen by its first three letters.
	switch first := string(name[:3]); name[0] | 0x20 {
	case 'x':
	case 'r', 's', 't', 'c':
		if !strings.EqualFold(first, "rem") && !strings.EqualFold(first, "ssl") && !strings.EqualFold(first, "tai") && !strings.EqualFold(first[:2], "cf") {
			return false
		}
	default:
		return false
	}
	for _, h := range identityHeaders {
		if len(h) == len(name) && foldedPrefix(name, h) {
			return true
		}
	}
	for _, p := range identityPrefixes {
		if len(name) >= len(p) && foldedPrefix(name, p) {
			return true
		}
	}
	return false
}

// foldedPrefix compares the beginning of a name with a text in lower case with
// hyphens, which is no longer.
func foldedPrefix(name []byte, lower string) bool {
	for i := range len(lower) {
		switch c := name[i]; {
		case lower[i] == '-':
			if c != '-' && c != '_' {
				return false
			}
		case 'A' <= c && c <= 'Z':
			if c|0x20 != lower[i] {
				return false
			}
		case c != lower[i]:
			return false
		}
	}
	return true
}
