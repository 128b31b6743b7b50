package authz

import (
	"sync/atomic"
	"time"

	"github.com/athd/athd/ath"
)

const (
	unknownFor   = time.Second
	unknownSlots = 1 << 10
)

// unknown remembers for a second which tokens the store has just said it does
// not know, so that whoever repeats one costs the store one read a second.
//
// It can refuse no token that lives. A token is 256 random bits that athd
// draws, and its grant is written before anybody, its agent included, has seen
// it: a token that was asked about before its grant was there would have been
// guessed. What is remembered is the digest of all of it, so that another token
// is never meant. And nothing is remembered of a store that did not answer.
type unknown struct {
	last  atomic.Int64 // Unix ns until which anything is remembered: most of the time nothing is
	slots [unknownSlots]atomic.Pointer[unknownToken]
}

type unknownToken struct {
	digest ath.Digest
	until  time.Time
}

func (u *unknown) slot(d ath.Digest) *atomic.Pointer[unknownToken] {
	return &u.slots[(int(d[0])<<8|int(d[1]))%unknownSlots]
}

// has reports whether the store has just not known the token.
func (u *unknown) has(token ath.Token, now time.Time) bool {
	if u == nil || now.UnixNano() >= u.last.Load() {
		return false
	}
	d := token.Digest()
	held := u.slot(d).Load()
	return held != nil && held.digest == d && now.Before(held.until)
}

// remember takes the place of whatever token had it.
func (u *unknown) remember(token ath.Token, now time.Time) {
	if u == nil {
		return
	}
	d, until := token.Digest(), now.Add(unknownFor)
	u.slot(d).Store(&unknownToken{d, until})
	u.last.Store(until.UnixNano())
}
