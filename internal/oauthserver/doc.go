// Package oauthserver is the OAuth 2.0 authorization server of the demo and
// of the end-to-end tests: one that people log in to with a password, and
// where they may consent to less than was asked.
//
// It stands on a library, github.com/luikyv/go-oidc, which speaks the
// protocol: authorization code with PKCE, metadata, ID tokens, revocation
// (RFC 7009) and the issuer in the callback (RFC 9207). What is here is what
// the library leaves to its user: the pages, the memory, and the end of a
// whole line of refresh tokens when a spent one comes back.
//
// Everything is in memory, and in a file in plain text where [Config].File
// names one; passwords are in plain text. It is not for anything but trying
// out.
package oauthserver
