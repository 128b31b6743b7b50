package envoy

import (
	"errors"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
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
const maxKept = 768

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
	case extProvider:
		return a.set(&a.provider, p.value)
	case extStream:
		return a.set(&a.stream, p.value)
	case extMount:
		return a.set(&a.mount, p.value)
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
	if err == nil {
		a.stray = a.stray || strays(p)
	}
	if err != nil || !wanted(p.key) {
		return err
	}
	h := header{name: headerName(p.key)}
	if !utf8.Valid(p.key) || !utf8.Valid(p.value) {
		return errUTF8
	}
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
	if err == nil {
		a.stray = a.stray || strays(p)
	}
	if err != nil || !wanted(p.key) {
		return err
	}
	if !utf8.Valid(p.key) || !utf8.Valid(p.value) {
		return errUTF8
	}
	if a.joined == nil {
		a.joined = make(map[string]string)
	}
	a.joined[headerName(p.key)] = a.keep(p.value)
	return nil
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

// wanted reports whether a decision may use the header of this name.
func wanted(name []byte) bool {
	for _, c := range name {
		if c >= utf8.RuneSelf {
			return true // no name of a header: judged elsewhere, not here
		}
	}
	is := func(s string) bool { return strings.EqualFold(string(name), s) }
	if len(name) < 2 {
		return false
	}
	// Of the headers that identify somebody, those without x- begin with cf-,
	// remote-, ssl- and tailscale-.
	begins := func(c byte) bool { return name[1]|0x20 == c }
	switch name[0] {
	case ':':
		return is(":method") || is(":path")
	case 'a', 'A':
		return is(headerAuthorization)
	case 'c', 'C':
		return is(headerCookie) || begins('f') && identifies(name)
	case 'u', 'U':
		return is(headerUpgrade)
	case 'x', 'X':
		return startsOurs(name) || overrides(name) || identifies(name) || is(headerForwardedFor)
	case 'r', 'R':
		return begins('e') && identifies(name)
	case 's', 'S':
		return begins('s') && identifies(name)
	case 't', 'T':
		return begins('a') && identifies(name)
	}
	return false
}

// startsOurs reports whether a name starts with headerPrefix, to which many
// servers count underscores.
func startsOurs(name []byte) bool {
	return len(name) >= len(headerPrefix) && (name[1] == '-' || name[1] == '_') &&
		strings.EqualFold(string(name[2:5]), "ath") && (name[5] == '-' || name[5] == '_')
}

// overrides reports whether a name is one of overrideHeaders, with underscores
// or not.
func overrides(name []byte) bool {
	for _, h := range overrideHeaders {
		same := len(h) == len(name)
		for i := 0; same && i < len(h); i++ {
			same = name[i]|0x20 == h[i] || h[i] == '-' && (name[i] == '-' || name[i] == '_')
		}
		if same {
			return true
		}
	}
	return false
}

// headerName returns the name; the usual ones without an allocation.
func headerName(name []byte) string {
	switch string(name) {
	case ":method":
		return ":method"
	case ":path":
		return ":path"
	case headerCookie:
		return headerCookie
	case headerAuthorization:
		return headerAuthorization
	case headerAgentID:
		return headerAgentID
	}
	return string(name)
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
