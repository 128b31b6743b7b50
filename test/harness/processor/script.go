package processor

import (
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
)

// A Part is what a message of Envoy's is about.
type Part string

// The parts of an exchange of which Envoy tells, in their order. Opening is the
// stream itself, of which nothing was read.
const (
	Opening         Part = "opening"
	RequestHead     Part = "request head"
	RequestBody     Part = "request body"
	RequestTrailers Part = "request trailers"
	ReplyHead       Part = "reply head"
	ReplyBody       Part = "reply body"
	ReplyTrailers   Part = "reply trailers"
)

// PartOf returns what a message is about; "" if it is about nothing.
func PartOf(q *extprocv3.ProcessingRequest) Part {
	switch q.GetRequest().(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		return RequestHead
	case *extprocv3.ProcessingRequest_RequestBody:
		return RequestBody
	case *extprocv3.ProcessingRequest_RequestTrailers:
		return RequestTrailers
	case *extprocv3.ProcessingRequest_ResponseHeaders:
		return ReplyHead
	case *extprocv3.ProcessingRequest_ResponseBody:
		return ReplyBody
	case *extprocv3.ProcessingRequest_ResponseTrailers:
		return ReplyTrailers
	}
	return ""
}

// A Moment is when a stream is spoiled: in place of the right answer to a message,
// or behind that answer. With [Opening], before anything is read.
type Moment struct {
	Of    Part
	After bool
}

// Honest answers every message right, until Envoy has no more.
func Honest(answer Answer) Script {
	return func(s *Stream) error {
		for {
			q, err := s.Recv()
			if err != nil {
				return nil //nolint:nilerr // Envoy has ended the stream
			}
			if err := s.Send(answer(s.Metadata, q)); err != nil {
				return err
			}
		}
	}
}

// Spoiled answers right until the moment, and then does what the fault does. What
// comes after a fault that leaves the stream open is not answered.
func Spoiled(answer Answer, at Moment, fault Fault) Script {
	return func(s *Stream) error {
		if at.Of == Opening {
			return fault.Do(s, answer(s.Metadata, unread()))
		}
		for {
			q, err := s.Recv()
			if err != nil {
				return nil //nolint:nilerr // Envoy has ended the stream
			}
			right := answer(s.Metadata, q)
			here := PartOf(q) == at.Of
			if here && !at.After {
				return fault.Do(s, right)
			}
			if err := s.Send(right); err != nil {
				return err
			}
			if here {
				return fault.Do(s, right)
			}
		}
	}
}

// unread is in place of a message that nobody has read.
func unread() *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{}}}
}
