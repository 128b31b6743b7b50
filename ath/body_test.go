package ath_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
)

func zipped(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, s)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// F-10
func TestReadBodyIsBoundedInSizeAndTime(t *testing.T) {
	const limit = 1000
	full := strings.Repeat("x", limit)
	for _, c := range []struct {
		name, encoding, body, want string // want "": an error
		err                        error
	}{
		{"plain", "", full, full, nil},
		{"identity", "Identity", full, full, nil},
		{"gzip", "gzip", zipped(t, full), full, nil},
		{"x-gzip", "X-GZIP", zipped(t, full), full, nil},
		{"a byte too many", "", full + "x", "", ath.ErrBodyTooLarge},
		{"gzip of a byte too many", "gzip", zipped(t, full+"x"), "", ath.ErrBodyTooLarge},
		{"a bomb", "gzip", zipped(t, strings.Repeat("\x00", 50<<20)), "", nil},
		{"a bomb of many members", "gzip", strings.Repeat(zipped(t, full), 40), "", nil},
		{"gzip that is none", "gzip", full, "", nil},
		{"gzip cut off", "gzip", zipped(t, full)[:12], "", nil},
		{"br", "br", full, "", nil},
		{"gzip in gzip", "gzip, gzip", zipped(t, zipped(t, "x")), "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := &http.Response{Header: http.Header{}, Body: io.NopCloser(strings.NewReader(c.body))}
			if c.encoding != "" {
				res.Header.Set("Content-Encoding", c.encoding)
			}
			got, err := ath.ReadBody(res, limit)
			if string(got) != c.want || (err != nil) != (c.want == "") || c.err != nil && !errors.Is(err, c.err) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
		})
	}
	res := &http.Response{Header: http.Header{"Content-Encoding": {"zstd"}}, Body: http.NoBody}
	if _, err := ath.ReadBody(res, limit); err == nil || !strings.Contains(err.Error(), `"zstd"`) {
		t.Errorf("the coding is not named: %v", err)
	}
}
