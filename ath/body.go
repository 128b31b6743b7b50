package ath

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// ErrBodyTooLarge says that a reply is larger than the limit.
var ErrBodyTooLarge = errors.New("the reply is too large")

// A BodyEncodingError says that a reply has a content coding that was not requested
// and cannot be read (RFC 9110, section 8.4).
type BodyEncodingError struct{ Encoding string }

// Error contains the coding, bounded.
func (e *BodyEncodingError) Error() string {
	return fmt.Sprintf("the reply is encoded as %.40q, which was not asked for", e.Encoding)
}

// AskPlain asks for a reply without content coding. A request without Accept-Encoding lets
// the server choose any coding (RFC 9110, section 12.5.3), and some choose.
func AskPlain(h http.Header) { h.Set("Accept-Encoding", "identity") }

// ReadBody reads the body of a reply whole, at most limit bytes of it, counted
// after decoding. It reads gzip, which some servers send whatever was asked
// for; the transport must have DisableCompression set.
func ReadBody(res *http.Response, limit int64) ([]byte, error) {
	var body io.Reader = res.Body
	switch encoding := strings.ToLower(strings.TrimSpace(strings.Join(res.Header.Values("Content-Encoding"), ","))); encoding {
	case "", "identity":
	case "gzip", "x-gzip":
		unzip, err := gzip.NewReader(io.LimitReader(res.Body, limit+1))
		if err != nil {
			return nil, fmt.Errorf("the reply says that it is gzip: %w", err)
		}
		body = unzip
	default:
		return nil, &BodyEncodingError{encoding}
	}
	data, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = ErrBodyTooLarge
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}
