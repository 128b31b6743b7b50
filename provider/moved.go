package provider

import "net/url"

// Moved returns the fields by which a change of a provider lets a secret, a code or
// a user's token go to another place than before, or belong to another client: what
// the operator's API wants the secret for again (O-1). Whatever changes them counts:
// a preset or an issuer, too. Both are as configured, without an issuer's metadata.
func Moved(was, now *Provider) []string {
	var fields []string
	for _, u := range []struct {
		name     string
		was, now *url.URL
	}{
		{"authorize_endpoint", was.AuthorizeURL, now.AuthorizeURL},
		{"token_endpoint", was.TokenURL, now.TokenURL},
		{"userinfo_endpoint", was.UserinfoURL, now.UserinfoURL},
		{"revocation_endpoint", was.RevocationURL, now.RevocationURL},
		{"api_base_url", was.APIBase, now.APIBase},
	} {
		if written(u.was) != written(u.now) {
			fields = append(fields, u.name)
		}
	}
	if was.Issuer != now.Issuer {
		fields = append(fields, "issuer")
	}
	if was.ClientID != now.ClientID {
		fields = append(fields, "client_id")
	}
	return fields
}

// written is "" for an endpoint that is not.
func written(u *url.URL) string {
	if u == nil {
		return ""
	}
	return u.String()
}
