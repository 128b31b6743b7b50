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

// unknown is a negative cache: for one second it remembers which tokens the store
// did not know, so that repeating one costs the store one read a second.
//
// It cannot refuse a valid token. A token is 256 random bits that athd generates,
// and its grant is written before anybody, its agent included, has seen it: a
// token that was checked before its grant was written would have been guessed.
// The key is the digest of the whole token, so that no other token is refused.
// Nothing is remembered when the store did not answer.
type unknown struct {
	last  atomic.Int64 // Unix ns until which any entry is valid: most of the time there is none
	slots [unknownSlots]atomic.Pointer[unknownToken]
}

type unknownToken struct {
	digest ath.Digest
	until  time.Time
}

func (u *unknown) slot(d ath.Digest) *atomic.Pointer[unknownToken] {
	return &u.slots[(int(d[0])<<8|int(d[1]))%unknownSlots]
}

// has reports whether the store did not know the token within the last second.
func (u *unknown) has(token ath.Token, now time.Time) bool {
	if u == nil || now.UnixNano() >= u.last.Load() {
		return false
	}
	d := token.Digest()
	held := u.slot(d).Load()
	return held != nil && held.digest == d && now.Before(held.until)
}

// remember replaces whatever token had the slot.
func (u *unknown) remember(token ath.Token, now time.Time) {
	if u == nil {
		return
	}
	d, until := token.Digest(), now.Add(unknownFor)
	u.slot(d).Store(&unknownToken{d, until})
	u.last.Store(until.UnixNano())
}
