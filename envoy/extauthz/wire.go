package extauthz

// Why not generated code: BenchmarkCheck. The generated CheckRequest costs
// 14 to 23 µs and about 120 allocations for a request of 14 headers, where all
// of a check takes 6 µs and 20 allocations with what stands here. FuzzScan and
// FuzzReply hold the two together. Once the generated code is as cheap, this file,
// wire_reply.go and wire_server.go can go.

import (
	"errors"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/exchange"
)

// attributes are what a decision may use of a CheckRequest, and nothing else
// of it. The generated code would also build all other headers, both peers and
// the rest of what Envoy sends: more than a hundred allocations for each
// request, to be thrown away.
type attributes struct {
	http               bool // there is an HTTP request
	method, path, host string

	stray  bool   // a header in which none belongs holds what looks like an ATH token
	client string // the address of whose connection it is, as Envoy sees it; a part of text

	// The context extensions of the route.
	provider, mount, stream string
	runtime                 bool

	// raw says that the headers came in a header_map, where each value stands
	// by itself, byte for byte; then joined does not count. Without it they
	// came in a map, one value for each name.
	raw     bool
	headers []header
	joined  map[string]string

	text   strings.Builder // what is kept of the message: one allocation for nearly every check
	common [8]header       // where headers begin
}

// A header's name is spelled as it came.
type header struct{ name, value string }

// The numbers of the fields that are read, by message.
const (
	checkAttributes = 1 // envoy.service.auth.v3.CheckRequest

	contextSource    = 1 // AttributeContext
	contextRequest   = 4
	contextExtension = 10

	peerAddress   = 1 // AttributeContext.Peer
	addressSocket = 1 // envoy.config.core.v3.Address
	socketAddress = 2 // envoy.config.core.v3.SocketAddress

	requestHTTP = 2 // AttributeContext.Request

	httpMethod    = 2 // AttributeContext.HttpRequest
	httpHeader    = 3
	httpPath      = 4
	httpHost      = 5
	httpHeaderMap = 13

	mapHeader = 1 // envoy.config.core.v3.HeaderMap

	pairKey   = 1 // envoy.config.core.v3.HeaderValue, and an entry of any map
	pairValue = 2
	pairRaw   = 3 // of HeaderValue only
)

var (
	errWire = errors.New("the check is not a protobuf message")
	errUTF8 = errors.New("a string of the check is not UTF-8")
)

// scan reads a CheckRequest. Every message that the generated code takes is
// taken, and read as the generated code reads it: of a field that came twice
// the last one counts, a message that came in parts is one message, and fields
// that are not known are skipped. Of what is skipped only the length is
// looked at. Nothing of data is kept.
func (a *attributes) scan(data []byte) error {
	a.text.Grow(min(len(data), maxKept))
	for f := (fields{data}); f.more(); {
		n, v, err := f.next()
		if err != nil {
			return err
		}
		if n == checkAttributes {
			if err := a.context(v); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxKept is how many bytes are set aside for what is kept of a check: what
// Envoy tells by the configuration that athd prints. More take more.
const maxKept = 576

func (a *attributes) context(message []byte) error {
	for f := (fields{message}); f.more(); {
		n, v, err := f.next()
		switch {
		case err != nil:
		case n == contextSource:
			err = a.source(v, peerAddress, addressSocket, socketAddress)
		case n == contextRequest:
			err = a.request(v)
		case n == contextExtension:
			err = a.extension(v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// source reads the address of the client, which stands at the end of path.
func (a *attributes) source(message []byte, path ...protowire.Number) error {
	for f := (fields{message}); f.more(); {
		n, v, err := f.next()
		switch {
		case err != nil || n != path[0]:
		case len(path) > 1:
			err = a.source(v, path[1:]...)
		default:
			err = a.set(&a.client, v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *attributes) extension(entry []byte) error {
	p, err := readPair(entry)
	if err != nil {
		return err
	}
	switch string(p.key) {
	case envoy.ExtProvider:
		return a.set(&a.provider, p.value)
	case envoy.ExtStream:
		return a.set(&a.stream, p.value)
	case envoy.ExtMount:
		return a.set(&a.mount, p.value)
	case envoy.ExtRuntime:
		if a.runtime = string(p.value) == "true"; !utf8.Valid(p.value) {
			return errUTF8
		}
	}
	return nil
}

func (a *attributes) request(message []byte) error {
	for f := (fields{message}); f.more(); {
		n, v, err := f.next()
		if err == nil && n == requestHTTP {
			a.http = true
			err = a.httpRequest(v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *attributes) httpRequest(message []byte) error {
	for f := (fields{message}); f.more(); {
		n, v, err := f.next()
		switch {
		case err != nil:
		case n == httpMethod:
			err = a.set(&a.method, v)
		case n == httpPath:
			err = a.set(&a.path, v)
		case n == httpHost:
			err = a.set(&a.host, v)
		case n == httpHeader:
			err = a.joinedHeader(v)
		case n == httpHeaderMap:
			a.raw = true
			err = a.rawHeaders(v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *attributes) rawHeaders(message []byte) error {
	for f := (fields{message}); f.more(); {
		n, v, err := f.next()
		if err == nil && n == mapHeader {
			err = a.rawHeader(v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *attributes) rawHeader(message []byte) error {
	p, err := readPair(message)
	if err != nil {
		return err
	}
	name, err := a.header(&p)
	if err != nil || name == "" {
		return err
	}
	h := header{name: name}
	if len(p.raw) > 0 { // encode_raw_headers fills it alone, the default value alone
		h.value = a.keep(p.raw)
	} else {
		h.value = a.keep(p.value)
	}
	if a.headers == nil {
		a.headers = a.common[:0]
	}
	a.headers = append(a.headers, h)
	return nil
}

func (a *attributes) joinedHeader(message []byte) error {
	p, err := readPair(message)
	if err != nil {
		return err
	}
	name, err := a.header(&p)
	if err != nil || name == "" {
		return err
	}
	if a.joined == nil {
		a.joined = make(map[string]string)
	}
	a.joined[name] = a.keep(p.value)
	return nil
}

// header looks at a header, and returns its name if a decision may use it, ""
// otherwise.
func (a *attributes) header(p *pair) (name string, err error) {
	name = commonName(p.key)
	if name == "" {
		a.stray = a.stray || exchange.Strays(p.key, p.raw) || exchange.Strays(p.key, p.value)
		if !exchange.Wanted(p.key) {
			return "", nil
		}
		if !utf8.Valid(p.key) {
			return "", errUTF8
		}
		name = string(p.key)
	}
	if !utf8.Valid(p.value) {
		return "", errUTF8
	}
	return name, nil
}

// set keeps a string of the message.
func (a *attributes) set(to *string, v []byte) error {
	if !utf8.Valid(v) {
		return errUTF8
	}
	*to = a.keep(v)
	return nil
}

// keep copies bytes of the message.
func (a *attributes) keep(v []byte) string {
	start := a.text.Len()
	a.text.Write(v)
	return a.text.String()[start:]
}

// commonName returns the name of those headers that nearly every request has and
// a decision uses, spelled as Envoy spells it, without an allocation; of all
// others "". In each of these a token is judged elsewhere: see package exchange.
func commonName(name []byte) string {
	switch string(name) {
	case ":method":
		return ":method"
	case ":path":
		return ":path"
	case envoy.HeaderCookie:
		return envoy.HeaderCookie
	case envoy.HeaderAuthorization:
		return envoy.HeaderAuthorization
	case envoy.HeaderAgentID:
		return envoy.HeaderAgentID
	}
	return ""
}

// A pair is a HeaderValue, or an entry of a map.
type pair struct{ key, value, raw []byte }

func readPair(message []byte) (p pair, err error) {
	for f := (fields{message}); f.more(); {
		n, v, err := f.next()
		if err != nil {
			return pair{}, err
		}
		switch n {
		case pairKey:
			p.key = v
		case pairValue:
			p.value = v
		case pairRaw:
			p.raw = v
		}
	}
	return p, nil
}

// fields are what is left of a message to be read.
type fields struct{ message []byte }

func (f *fields) more() bool { return len(f.message) > 0 }

// next reads a field, and returns its number if it holds bytes: strings and
// messages. A known number with another type is an unknown field, and 0 like
// those.
func (f *fields) next() (protowire.Number, []byte, error) {
	// Nearly every tag and every length is one byte.
	if m := f.message; len(m) > 1 && m[0]&^0x78 == byte(protowire.BytesType) && m[0] >= 1<<3 && m[1] < 0x80 {
		if end := 2 + int(m[1]); end <= len(m) {
			f.message = m[end:]
			return protowire.Number(m[0] >> 3), m[2:end], nil
		}
	}
	return f.nextOfAny()
}

func (f *fields) nextOfAny() (protowire.Number, []byte, error) {
	number, kind, n := protowire.ConsumeTag(f.message)
	if n < 0 {
		return 0, nil, errWire
	}
	f.message = f.message[n:]
	if kind != protowire.BytesType {
		if n = protowire.ConsumeFieldValue(number, kind, f.message); n < 0 {
			return 0, nil, errWire
		}
		f.message = f.message[n:]
		return 0, nil, nil
	}
	value, n := protowire.ConsumeBytes(f.message)
	if n < 0 {
		return 0, nil, errWire
	}
	f.message = f.message[n:]
	return number, value, nil
}
