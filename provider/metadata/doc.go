// Package metadata fetches what an OAuth server publishes of itself: its OpenID
// configuration (OpenID Connect Discovery 1.0) or authorization server metadata
// (RFC 8414). [Fetch] takes only a document that names the very issuer it was
// asked for; whoever sends users to the endpoints calls [Document.Check] first.
package metadata
