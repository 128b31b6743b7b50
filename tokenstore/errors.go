package tokenstore

import (
	"errors"
	"fmt"
)

// The errors of all verbs. They are wrapped with the name of the verb: compare
// with errors.Is.
var (
	// ErrNotFound: there is no such record, or it has aged out.
	ErrNotFound = errors.New("not found")
	// ErrExists: the key to create is taken.
	ErrExists = errors.New("exists already")
	// ErrChanged: the record is no longer what it was when it was read, or is gone.
	ErrChanged = errors.New("changed meanwhile")
	// ErrUnavailable: the server is unreachable, slow, full or refuses. It says
	// nothing about the record: a caller must never treat it as "not found".
	ErrUnavailable = errors.New("store unavailable")
	// ErrCorrupt: the stored bytes do not open with our keys under this key,
	// or were written by a version of athd that this one does not understand.
	ErrCorrupt = errors.New("corrupt record")
	// ErrOtherKeyset: the keyset is not the one that what is stored needs: it does
	// not open the canary, or seals with a key that was retired. [Reason] says which
	// key is missing.
	ErrOtherKeyset = errors.New("this Redis was written with another keyset")
)

// errBreaker is the cause when the breaker answered in place of the server.
var errBreaker = errors.New("too many failures in a row; not asked")

// A foreignError is ErrOtherKeyset, and says what is wrong with the keyset. It holds
// ids of keys.
type foreignError struct{ Why string }

func (e *foreignError) Error() string {
	if e.Why == "" {
		return ErrOtherKeyset.Error()
	}
	return ErrOtherKeyset.Error() + ": " + e.Why
}

func (e *foreignError) Unwrap() error { return ErrOtherKeyset }

// verb is the error of every verb once it is known.
func (e *foreignError) verb() error { return fmt.Errorf("%w: %w", ErrUnavailable, e) }

// isAnswer reports whether err is an answer of a healthy store.
func isAnswer(err error) bool {
	return errors.Is(err, ErrNotFound) || errors.Is(err, ErrExists) ||
		errors.Is(err, ErrChanged) || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrOtherKeyset)
}
