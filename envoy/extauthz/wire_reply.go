package extauthz

import (
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
)

// An answer is what a CheckResponse says. The zero answer refuses.
type answer struct {
	allow bool

	// Of a refusal. Without an HTTP status it is 500.
	code   codes.Code
	reason string // for the gRPC status
	status int    // of HTTP
	body   string

	restIn string // the header that gets rest; "": none
	rest   int64  // milliseconds

	sets     [][2]string // headers by name and value: of the request or, refusing, of the response
	removes  []string    // headers of the request, if it is allowed
	metadata []metadatum
}

// A metadatum is an entry of the dynamic metadata: a text, or true.
type metadatum struct {
	key, text string
	yes       bool
}

// A message is an encoded CheckResponse.
type message []byte

// The numbers of the fields that are written, by message.
const (
	replyStatus   = 1 // envoy.service.auth.v3.CheckResponse
	replyDenied   = 2
	replyOK       = 3
	replyMetadata = 4

	statusCode    = 1 // google.rpc.Status, envoy.type.v3.HttpStatus
	statusMessage = 2 // google.rpc.Status

	deniedStatus = 1 // DeniedHttpResponse
	anyHeader    = 2 // DeniedHttpResponse, OkHttpResponse
	deniedBody   = 3
	okRemove     = 5 // OkHttpResponse

	optionHeader = 1 // envoy.config.core.v3.HeaderValueOption
	optionAppend = 2
	optionAction = 3
	overwrite    = 2 // OVERWRITE_IF_EXISTS_OR_ADD

	structField = 1 // google.protobuf.Struct
	valueString = 3 // google.protobuf.Value
	valueBool   = 4
)

// encode writes the answer as the generated code would, in one allocation.
// It is always an ok_response with status OK, or a denied_response with
// another one: see [question.refuse].
func (a *answer) encode() message {
	w := make(writer, 0, 512)
	if a.allow {
		w.close(w.open(replyStatus))
		ok := w.open(replyOK)
		a.encodeHeaders(&w)
		for _, name := range a.removes {
			w.text(okRemove, name)
		}
		w.close(ok)
	} else {
		a.encodeRefusal(&w)
	}
	a.encodeMetadata(&w)
	return message(w)
}

func (a *answer) encodeRefusal(w *writer) {
	code, httpStatus := a.code, a.status
	if code == codes.OK { // which would allow
		code = codes.PermissionDenied
	}
	if httpStatus == 0 {
		httpStatus = http.StatusInternalServerError
	}
	status := w.open(replyStatus)
	w.number(statusCode, uint64(code))
	w.text(statusMessage, a.reason)
	w.close(status)

	denied := w.open(replyDenied)
	status = w.open(deniedStatus)
	w.number(statusCode, uint64(httpStatus))
	w.close(status)
	a.encodeHeaders(w)
	w.text(deniedBody, a.body)
	w.close(denied)
}

// encodeHeaders sets headers, whatever was there. Append is said explicitly:
// Envoy 1.37.0 took its absence for true. It is value and never raw_value, from
// which ext_authz makes an empty header.
func (a *answer) encodeHeaders(w *writer) {
	for _, h := range a.sets {
		encodeHeader(w, h[0], h[1])
	}
	if a.restIn != "" {
		var digits [20]byte
		encodeHeader(w, a.restIn, string(strconv.AppendInt(digits[:0], a.rest, 10)))
	}
}

func encodeHeader(w *writer, name, value string) {
	option := w.open(anyHeader)
	header := w.open(optionHeader)
	w.text(pairKey, name)
	w.text(pairValue, value)
	w.close(header)
	w.close(w.open(optionAppend)) // false
	w.number(optionAction, overwrite)
	w.close(option)
}

func (a *answer) encodeMetadata(w *writer) {
	whole := w.open(replyMetadata)
	for _, m := range a.metadata {
		field := w.open(structField)
		w.text(pairKey, m.key)
		value := w.open(pairValue)
		if m.yes {
			w.number(valueBool, 1)
		} else {
			w.text(valueString, m.text)
		}
		w.close(value)
		w.close(field)
	}
	w.close(whole)
}

// A writer appends fields to a message.
type writer []byte

// text appends a string. One that is not UTF-8 would make the whole message
// unreadable.
func (w *writer) text(n protowire.Number, s string) {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "?")
	}
	*w = protowire.AppendString(protowire.AppendTag(*w, n, protowire.BytesType), s)
}

func (w *writer) number(n protowire.Number, v uint64) {
	*w = protowire.AppendVarint(protowire.AppendTag(*w, n, protowire.VarintType), v)
}

// open begins a message, of which all is a part that is appended until close
// is called with what open returned.
func (w *writer) open(n protowire.Number) (start int) {
	*w = append(protowire.AppendTag(*w, n, protowire.BytesType), 0) // nearly every length takes one byte
	return len(*w)
}

// close writes the length of the message that begins at start.
func (w *writer) close(start int) {
	size := len(*w) - start
	if more := protowire.SizeVarint(uint64(size)) - 1; more > 0 {
		*w = append(*w, make([]byte, more)...)
		copy((*w)[start+more:], (*w)[start:start+size])
	}
	protowire.AppendVarint((*w)[:start-1], uint64(size))
}
