package vault

import (
	"hash/fnv"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
	"github.com/athd/athd/tokenstore"
)

// A keeping is when a refresh token is to be used that nobody happens to use.
type keeping struct {
	by       time.Time // zero: it need not be used, or nothing can be done
	end      time.Time // of the refresh token, as far as is known
	standing bool      // an agent has a live renewal (T-8)
}

// keepingOf asks what the provider said of the token's end and, of a connection that
// an agent can renew its access by, how long an unused one lives at that provider. Of
// a nil Provider, or one that allows no renewals any more, there are none.
func keepingOf(p *provider.Provider, info *tokenstore.ConnectionInfo, now time.Time) keeping {
	k := keeping{by: info.KeepBy(), end: info.RefreshStatus.RefreshExpires}
	k.standing = p != nil && now.Before(info.StandsUntil(p.Renewal))
	since := info.UnusedSince()
	if !k.standing || since.IsZero() {
		return k
	}
	limit := p.IdleLimit(!info.RefreshStatus.RefreshExpires.IsZero())
	if limit == 0 {
		return k
	}
	if by := since.Add(keepAfter(info.Tag, limit)); k.by.IsZero() || by.Before(k.by) {
		k.by = by
	}
	if end := since.Add(limit); k.end.IsZero() || end.Before(k.end) {
		k.end = end
	}
	if k.end.Before(now) { // who set the limit may be wrong: the provider knows
		k.end = now.Add(lookAgain)
	}
	return k
}

// keepAfter is how long a refresh token stays unused that lives for limit: between a
// third and a half of it, another time for each connection and the same one at each
// athd. What fails then has as long again and more to succeed.
func keepAfter(tag ath.Tag, limit time.Duration) time.Duration {
	h := fnv.New32a()
	h.Write([]byte(tag))
	return limit/3 + time.Duration(float64(limit/6)*float64(h.Sum32())/(1<<32))
}
