package extauthz

import (
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/athd/athd/envoy/exchange"
)

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
	okReply      = 6 // OkHttpResponse

	optionHeader = 1 // envoy.config.core.v3.HeaderValueOption
	optionAppend = 2
	optionAction = 3
	overwrite    = 2 // OVERWRITE_IF_EXISTS_OR_ADD
	onlyIfThere  = 3 // OVERWRITE_IF_EXISTS

	structField = 1 // google.protobuf.Struct
	valueString = 3 // google.protobuf.Value
	valueBool   = 4
)

// encode writes an answer as the generated code would, in one allocation.
// It is always an ok_response with status OK, or a denied_response with
// another one: Envoy lets an error_response through where failure_mode_allow is set.
func encode(a *exchange.Answer) message {
	w := make(writer, 0, 512)
	if a.Allow {
		w.close(w.open(replyStatus))
		ok := w.open(replyOK)
		encodeHeaders(a, &w)
		for _, name := range a.Removes {
			w.text(okRemove, name)
		}
		for _, name := range a.Blanks {
			encodeBlank(&w, name)
		}
		w.close(ok)
	} else {
		encodeRefusal(a, &w)
	}
	encodeMetadata(a, &w)
	return message(w)
}

func encodeRefusal(a *exchange.Answer, w *writer) {
	code, httpStatus := codes.PermissionDenied, a.Status // code 0 would allow
	if httpStatus == http.StatusUnauthorized {
		code = codes.Unauthenticated
	}
	if httpStatus == 0 {
		httpStatus = http.StatusInternalServerError
	}
	status := w.open(replyStatus)
	w.number(statusCode, uint64(code))
	w.text(statusMessage, a.Reason)
	w.close(status)

	denied := w.open(replyDenied)
	status = w.open(deniedStatus)
	w.number(statusCode, uint64(httpStatus))
	w.close(status)
	encodeHeaders(a, w)
	w.text(deniedBody, a.Body)
	w.close(denied)
}

// encodeHeaders sets headers, whatever was there. Append is said explicitly:
// Envoy 1.37.0 took its absence for true. It is value and never raw_value, from
// which ext_authz makes an empty header.
func encodeHeaders(a *exchange.Answer, w *writer) {
	for _, h := range a.Sets {
		encodeHeader(w, h[0], h[1])
	}
	if a.RestIn != "" {
		var digits [20]byte
		encodeHeader(w, a.RestIn, string(strconv.AppendInt(digits[:0], a.Rest, 10)))
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

// encodeBlank leaves one empty value of a header of the API's reply, and nothing
// where it has none: Envoy cannot be told to remove one. Append is not said:
// where it is, Envoy looks at no other action, and adds what was not there.
func encodeBlank(w *writer, name string) {
	option := w.open(okReply)
	header := w.open(optionHeader)
	w.text(pairKey, name)
	w.close(header)
	w.number(optionAction, onlyIfThere)
	w.close(option)
}

func encodeMetadata(a *exchange.Answer, w *writer) {
	whole := w.open(replyMetadata)
	for _, m := range a.Metadata {
		field := w.open(structField)
		w.text(pairKey, m.Key)
		value := w.open(pairValue)
		if m.Yes {
			w.number(valueBool, 1)
		} else {
			w.text(valueString, m.Text)
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
