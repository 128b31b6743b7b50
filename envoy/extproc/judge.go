package extproc

import (
	"context"

	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/exchange"
)

// A Judge has the role of ext_authz: it decides about the heads of requests, swaps
// credentials, and refuses. Where its filter is told of replies, it takes out of them
// what ext_authz would have blanked.
type Judge struct{ *exchange.Judge }

// Open is of [exchange.Role].
func (j Judge) Open(s *exchange.Stream) exchange.Hearing { return &judged{judge: j, stream: s} }

// judged is one exchange. Until the request is allowed it may not go on.
type judged struct {
	exchange.Plain
	judge   Judge
	stream  *exchange.Stream
	allowed bool
	blanks  []string // of the reply
}

// Hear is of [exchange.Hearing].
func (j *judged) Hear(ctx context.Context, m *exchange.Message) (exchange.Reply, error) {
	switch {
	case m.Phase == exchange.RequestHeaders:
		a := j.judge.Answer(ctx, func(hops int) (exchange.Question, bool) { return j.question(m, hops), true })
		return j.reply(&a), nil
	case !j.allowed:
		return exchange.Reply{}, errUnjudged
	case m.Phase == exchange.ResponseHeaders:
		return exchange.Reply{Remove: j.blanks}, nil
	}
	return exchange.Reply{}, nil
}

// question reads the head of a request.
func (j *judged) question(m *exchange.Message, trustedHops int) exchange.Question {
	head, beside, hosts := exchange.NewHead(), exchange.Beside{TrustedHops: trustedHops, Raw: true}, 0
	for _, h := range m.Headers {
		if h.Name == envoy.HeaderAuthority {
			beside.Host, hosts = h.Value, hosts+1
		}
		beside.StrayToken = beside.StrayToken || exchange.Strays([]byte(h.Name), []byte(h.Value))
		head.Add(h.Name, h.Value)
	}
	beside.Peer = exchange.Peer(m.Attributes["source.address"])
	q := head.Question(&j.stream.Route, &beside)
	if hosts > 1 {
		q.Path = "" // which no decision accepts
	}
	return q
}

// reply says an answer by ext_proc.
func (j *judged) reply(a *exchange.Answer) exchange.Reply {
	if !a.Allow {
		return exchange.Reply{Metadata: a.Metadata, Refusal: &exchange.Refusal{Status: a.Status, Headers: a.Sets, Body: a.Body, Details: "ath_denied"}}
	}
	j.allowed, j.blanks = true, a.Blanks
	return exchange.Reply{Set: a.AllSets(), Remove: a.Removes, Metadata: a.Metadata}
}
