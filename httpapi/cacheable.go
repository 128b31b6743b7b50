package httpapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
)

// A Cacheable is a reply that is the same for everybody who asks, until it changes:
// caches ask again with its ETag (RFC 9110, section 13.1.2). The zero Cacheable is empty.
type Cacheable struct {
	body []byte
	etag string
}

// NewCacheable encodes v as JSON.
func NewCacheable(v any) Cacheable {
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false)              // a URL should read as one
	if err := e.Encode(v); err != nil { // our own types: cannot happen, and must not answer a success if it does
		return Cacheable{}
	}
	sum := sha256.Sum256(body.Bytes())
	return Cacheable{body.Bytes(), `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}
}

// Write answers with it, or 304 where the client has it.
func (c Cacheable) Write(w http.ResponseWriter, r *http.Request) {
	if c.etag == "" {
		writeUnencodable(w)
		return
	}
	w.Header().Set("ETag", c.etag)
	if c.matches(r.Header.Get("If-None-Match")) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	writeBody(w, http.StatusOK, c.body)
}

// matches compares as If-None-Match does: weakly.
func (c Cacheable) matches(header string) bool {
	for tag := range strings.SplitSeq(header, ",") {
		if tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/"); tag == c.etag || tag == "*" {
			return true
		}
	}
	return false
}
