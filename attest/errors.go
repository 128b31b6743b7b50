package attest

import "fmt"

// A Reason is why an attestation was refused: a closed set, fit for a log
// field and a metric label.
type Reason string

// The reasons. All but Subject and Unreachable mean INVALID_ATTESTATION on the wire; Subject
// is given only when everything else but the replay check holds.
const (
	Malformed Reason = "malformed" // not a JWT of the wanted form, or a claim missing or of the wrong type
	Algorithm Reason = "algorithm" // not ES256
	Expired   Reason = "expired"   // exp is past
	Times     Reason = "times"     // iat, nbf or exp out of their window
	Audience  Reason = "audience"  // aud names somebody else
	Issuer    Reason = "issuer"    // iss is neither the agent_id nor its origin
	Document  Reason = "document"  // there is no identity document, it is malformed, or it may not be fetched
	Signature Reason = "signature" // not by the published key
	Subject   Reason = "subject"   // sub is another agent
	Replay    Reason = "replay"    // the jti was used before

	// Unreachable says nothing against the attestation: the document could not
	// be read for the moment, and the same attestation may be good later.
	Unreachable Reason = "identity_unreachable"
)

// An Error is the refusal of an attestation.
type Error struct {
	Reason Reason
	// Expected is what aud could have been, when Reason is Audience.
	Expected []string

	message string
	cause   error
}

// Error returns the text for a log. It may say what the agent's host did; clients
// get the reason only.
func (e *Error) Error() string {
	s := fmt.Sprintf("attestation refused (%s): %s", e.Reason, e.message)
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

// Unwrap returns the cause, if there is one.
func (e *Error) Unwrap() error { return e.cause }

func refuse(reason Reason, message string) *Error { return &Error{Reason: reason, message: message} }
