package metadata

import (
	"fmt"
	"strings"
)

// A Reason is why there is no metadata: a closed set.
type Reason string

// The reasons.
const (
	NoIssuer    Reason = "no_issuer"    // what was asked for cannot be an issuer
	Unreachable Reason = "unreachable"  // no answer, or one that says: later
	Refused     Reason = "refused"      // the host is at an address that may not be connected to
	Untrusted   Reason = "untrusted"    // the certificate does not hold
	NotFound    Reason = "not_found"    // the server answers, and has no metadata at any of the places
	Malformed   Reason = "malformed"    // there is a document that is none, or too large
	OtherIssuer Reason = "other_issuer" // there is metadata of another issuer (RFC 8414, section 3.3)
)

// An Error is why there is no metadata of an issuer.
type Error struct {
	Reason Reason
	Issuer string // that was asked for
	Place  string // the URL whose answer this is; "" if nothing was asked
	Got    string // what the document calls itself, when Reason is OtherIssuer

	cause error
}

// Error says what was expected and what was there. It quotes what the server
// wrote, bounded.
func (e *Error) Error() string {
	switch e.Reason {
	case NoIssuer:
		return fmt.Sprintf("issuer %s: %v", quoted(e.Issuer), e.cause)
	case OtherIssuer:
		return fmt.Sprintf("%s: expected issuer %s, got %s%s", e.Place, quoted(e.Issuer), quoted(e.Got), Difference(e.Issuer, e.Got))
	}
	return fmt.Sprintf("%s: %v", e.Place, e.cause)
}

// Unwrap returns the cause, if there is one.
func (e *Error) Unwrap() error { return e.cause }

// Difference says how two issuers differ where that is easily overlooked, to
// be added to a sentence that names both; else "".
func Difference(one, other string) string {
	switch {
	case one == other:
	case strings.TrimSuffix(one, "/") == strings.TrimSuffix(other, "/"):
		return ": they differ by the slash at the end"
	case strings.EqualFold(one, other):
		return ": they differ by capitals"
	}
	return ""
}
