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

	// The context extensions of the route.
	provider, mount string

	// raw says that the headers came in a header_map, where each value stands
	// by itself, byte for byte; then joined does not count. Without it they
	// came in a map, one value for each name.
	raw     bool
	headers []header
	joined  map[string]string
}

// A header's name is spelled as it came.
type header struct{ name, value string }

// The numbers of the fields that are read, by message.
const (
	checkAttributes = 1 // envoy.service.auth.v3.CheckRequest

	contextRequest   = 4 // AttributeContext
	contextExtension = 10

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
	return fields(data, func(n protowire.Number, v []byte) error {
		if n == checkAttributes {
			return fields(v, a.context)
		}
		return nil
	})
}

func (a *attributes) context(n protowire.Number, v []byte) error {
	switch n {
	case contextRequest:
		return fields(v, a.request)
	case contextExtension:
		return a.extension(v)
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
		return set(&a.provider, p.value)
	case extMount:
		return set(&a.mount, p.value)
	}
	return nil
}

func (a *attributes) request(n protowire.Number, v []byte) error {
	if n != requestHTTP {
		return nil
	}
	a.http = true
	return fields(v, a.httpRequest)
}

func (a *attributes) httpRequest(n protowire.Number, v []byte) error {
	switch n {
	case httpMethod:
		return set(&a.method, v)
	case httpPath:
		return set(&a.path, v)
	case httpHost:
		return set(&a.host, v)
	case httpHeader:
		return a.joinedHeader(v)
	case httpHeaderMap:
		a.raw = true
		return fields(v, a.rawHeader)
	}
	return nil
}

func (a *attributes) rawHeader(n protowire.Number, v []byte) error {
	if n != mapHeader {
		return nil
	}
	p, err := readPair(v)
	if err != nil || !wanted(p.key) {
		return err
	}
	h := header{name: headerName(p.key)}
	if err := set(&h.value, p.value); err != nil || !utf8.Valid(p.key) {
		return errUTF8
	}
	if len(p.raw) > 0 { // encode_raw_headers fills it alone, the default value alone
		h.value = string(p.raw)
	}
	if a.headers == nil {
		a.headers = make([]header, 0, 8)
	}
	a.headers = append(a.headers, h)
	return nil
}

func (a *attributes) joinedHeader(v []byte) error {
	p, err := readPair(v)
	if err != nil || !wanted(p.key) {
		return err
	}
	if !utf8.Valid(p.key) || !utf8.Valid(p.value) {
		return errUTF8
	}
	if a.joined == nil {
		a.joined = make(map[string]string)
	}
	a.joined[headerName(p.key)] = string(p.value)
	return nil
}

// set keeps a string of the message.
func set(to *string, v []byte) error {
	if !utf8.Valid(v) {
		return errUTF8
	}
	*to = string(v)
	return nil
}

// wanted reports whether a decision may use the header of this name.
func wanted(name []byte) bool {
	for _, c := range name {
		if c >= utf8.RuneSelf {
			return true // no name of a header: judged elsewhere, not here
		}
	}
	is := func(s string) bool { return strings.EqualFold(string(name), s) }
	if len(name) == 0 {
		return false
	}
	switch name[0] {
	case ':':
		return is(":method") || is(":path")
	case 'a', 'A':
		return is(headerAuthorization)
	case 'c', 'C':
		return is(headerCookie)
	case 'x', 'X':
		return startsOurs(name) || overrides(name)
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
	err = fields(message, func(n protowire.Number, v []byte) error {
		switch n {
		case pairKey:
			p.key = v
		case pairValue:
			p.value = v
		case pairRaw:
			p.raw = v
		}
		return nil
	})
	return p, err
}

// fields calls f with each field of a message that holds bytes: strings and
// messages. A known number with another type is an unknown field, and skipped
// like those.
func fields(message []byte, f func(protowire.Number, []byte) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return errWire
		}
		message = message[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, kind, message); n < 0 {
				return errWire
			}
			message = message[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(message)
		if n < 0 {
			return errWire
		}
		message = message[n:]
		if err := f(number, value); err != nil {
			return err
		}
	}
	return nil
}
