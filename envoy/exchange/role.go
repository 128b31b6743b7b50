package exchange

import "context"

// A Role is what one filter of Envoy's configuration has athd do with exchanges: see
// envoy.StreamRole.
type Role interface {
	// Open is called for each exchange, before anything is known of it.
	Open(s *Stream) Hearing
}

// A Hearing is one exchange, a request and its reply, as one role hears of it.
type Hearing interface {
	// Hear answers a message; they come one at a time and in the order of the
	// phases, of which Envoy's configuration may leave some out. An error ends the
	// exchange: Envoy resets it, unless the filter lets failures pass. A Refusal beside
	// the error is for such filters: Envoy obeys it all the same. ctx ends with the stream, and soon.
	Hear(ctx context.Context, m *Message) (Reply, error)
	// Close is called once, when the stream is over, whoever has ended it.
	Close()
}

// Plain is embedded by hearings that keep nothing and never call [Stream.End]: they
// cost less.
type Plain struct{}

// Close is of [Hearing].
func (Plain) Close() {}

func (Plain) plain() {}

// IsPlain reports whether a hearing embeds [Plain].
func IsPlain(h Hearing) bool {
	_, ok := h.(interface{ plain() })
	return ok
}

// A Phase is the part of an exchange that a message is about.
type Phase int

// The phases, in their order.
const (
	RequestHeaders Phase = 1 + iota
	ResponseHeaders
	ResponseTrailers
)

// A Header is one value: its name in lower case, its value byte for byte.
type Header struct{ Name, Value string }

// A Message is what Envoy says of one phase.
type Message struct {
	Phase   Phase
	Headers []Header
	Last    bool // nothing follows in this direction
	// Observed: the filter goes on without an answer, and obeys none.
	Observed bool

	// Metadata is what stands under envoy.MetaNamespace, if the filter forwards it:
	// what the request's decision said. Beside envoy.RoleJudge on the same stream it
	// is what that has said. True is "true".
	Metadata map[string]string
	// Sent is envoy.MetaSent: what RoleRetry has said of the token that it gave; "":
	// the call went as its decision said.
	Sent string
	// Attributes are those that the filter asks for, such as source.address.
	Attributes map[string]string
}

// Value is the last value of a header, and how often the header came.
func (m *Message) Value(name string) (value string, times int) {
	for _, h := range m.Headers {
		if h.Name == name {
			value, times = h.Value, times+1
		}
	}
	return value, times
}

// A Reply says what becomes of the headers of a phase. The zero Reply changes nothing.
type Reply struct {
	Remove   []string    // by whole name; before the others
	Set      [][2]string // name and value, instead of all values
	Add      [][2]string // beside other values
	Metadata []Metadatum
	Sent     string   // of RoleRetry: what recognizes the token that it sets
	Refusal  *Refusal // instead of all but Metadata
}

// A Refusal answers the client in the place of the API, and ends the exchange. Where
// a part of the reply was sent already, Envoy resets it.
type Refusal struct {
	Status  int
	Headers [][2]string
	Body    string
	Details string // for Envoy's access log
}

// Error is for [Stream.End].
func (r *Refusal) Error() string { return "refused: " + r.Details }

// An End is an error by which athd ends an exchange: a fixed word that Envoy may log.
type End string

func (e End) Error() string { return string(e) }
