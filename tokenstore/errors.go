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
	// ErrOtherKeyset: nothing that is stored opens, since it was sealed with a
	// keyset that shares no key with ours.
	ErrOtherKeyset = errors.New("this Redis was written with another keyset")
)

// errBreaker is the cause when the breaker answered in place of the server.
var errBreaker = errors.New("too many failures in a row; not asked")

// errForeign is the error of every verb once it is known that nothing opens.
var errForeign = fmt.Errorf("%w: %w", ErrUnavailable, ErrOtherKeyset)

// isAnswer reports whether err is an answer of a healthy store.
func isAnswer(err error) bool {
	return errors.Is(err, ErrNotFound) || errors.Is(err, ErrExists) ||
		errors.Is(err, ErrChanged) || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrOtherKeyset)
}
