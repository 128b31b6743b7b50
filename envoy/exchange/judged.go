package exchange

import (
	"context"
	"errors"

	"github.com/athd/athd/envoy"
)

var errUnjudged = errors.New("a message came before the request was allowed")

// Open is of [Role]. By ext_proc a Judge has the role of ext_authz: it decides about the
// heads of requests, swaps credentials, and refuses. Where its filter is told of replies,
// it takes out of them what ext_authz would have blanked.
func (j *Judge) Open(s *Stream) Hearing { return &judged{judge: j, stream: s} }

// judged is one exchange. Until the request is allowed it may not go on.
type judged struct {
	Plain
	judge   *Judge
	stream  *Stream
	allowed bool
	blanks  []string // of the reply
}

// Hear is of [Hearing].
func (j *judged) Hear(ctx context.Context, m *Message) (Reply, error) {
	switch {
	case m.Phase == RequestHeaders:
		a := j.judge.Answer(ctx, func(hops int) (Question, bool) { return j.question(m, hops), true })
		return j.reply(&a), nil
	case !j.allowed:
		return Reply{}, errUnjudged
	case m.Phase == ResponseHeaders:
		return Reply{Remove: j.blanks}, nil
	}
	return Reply{}, nil
}

// question reads the head of a request.
func (j *judged) question(m *Message, trustedHops int) Question {
	head, beside, hosts := NewHead(), Beside{TrustedHops: trustedHops, Raw: true}, 0
	for _, h := range m.Headers {
		if h.Name == envoy.HeaderAuthority {
			beside.Host, hosts = h.Value, hosts+1
		}
		beside.StrayToken = beside.StrayToken || Strays([]byte(h.Name), []byte(h.Value))
		head.Add(h.Name, h.Value)
	}
	beside.Peer = Peer(m.Attributes["source.address"])
	q := head.Question(&j.stream.Route, &beside)
	if hosts > 1 {
		q.Path = "" // which no decision accepts
	}
	return q
}

// reply says an answer by ext_proc.
func (j *judged) reply(a *Answer) Reply {
	if !a.Allow {
		return Reply{Metadata: a.Metadata, Refusal: &Refusal{Status: a.Status, Headers: a.Sets, Body: a.Body, Details: "ath_denied"}}
	}
	j.allowed, j.blanks = true, a.Blanks
	return Reply{Set: a.AllSets(), Remove: a.Removes, Metadata: a.Metadata}
}
