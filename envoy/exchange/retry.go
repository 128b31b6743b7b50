package exchange

import (
	"context"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/authz"
	"github.com/athd/athd/canary"
	"github.com/athd/athd/envoy"
)

// A Retry has the role of filters in front of an API, behind the router: it hears of
// calls that the API has answered with 401. Asked about the head of a request, it is
// about to be sent again, and gets another Authorization, if there is one. Asked about
// the head of a reply, the filter only observes: the next call finds another token.
type Retry struct {
	// Rejected is [authz.Decider.Rejected].
	Rejected func(context.Context, authz.Held) ath.Secret
}

// Open is of [Role].
func (r Retry) Open(*Stream) Hearing { return retried{r} }

type retried struct{ Retry }

// Close is of [Hearing].
func (retried) Close() {}

// Hear is of [Hearing]. It never fails: then the API's own answer stands.
func (r retried) Hear(ctx context.Context, m *Message) (Reply, error) {
	if m.Metadata[envoy.MetaRetry] != "true" || m.Phase == ResponseTrailers {
		return Reply{}, nil // nobody's call, or one of a provider whose 401s are its own
	}
	held, err := authz.ParseHeld(m.Metadata[envoy.MetaHeld])
	if err != nil {
		return Reply{}, nil //nolint:nilerr // the API's own answer stands
	}
	authorization := r.Rejected(ctx, held).Reveal()
	if authorization == "" || !ath.IsPrintable(authorization) || m.Phase != RequestHeaders {
		return Reply{}, nil
	}
	_, token, _ := strings.Cut(authorization, " ")
	return Reply{Set: [][2]string{{envoy.HeaderAuthorization, authorization}}, Sent: canary.Of(ath.NewSecret(token)).Text()}, nil
}
