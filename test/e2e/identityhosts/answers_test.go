package identityhosts

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// raw answers with these bytes in place of HTTP, and then with more.
func raw(head string, more func(ctx context.Context, w io.Writer)) func(h *host) http.HandlerFunc {
	return func(*host) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			// Who waited for a deadline must find it, and not our end of the
			// connection closed in answer to theirs.
			linger := time.Duration(0)
			if more != nil {
				linger = time.Second
			}
			defer time.AfterFunc(linger, func() { conn.Close() })
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			go func() { // until the other side hangs up
				io.Copy(io.Discard, conn)
				cancel()
			}()
			if _, err := io.WriteString(conn, head); err == nil && more != nil {
				more(ctx, conn)
			}
		}
	}
}

// drip writes a text again and again, and after each one waits.
func drip(text string, wait time.Duration) func(context.Context, io.Writer) {
	return func(ctx context.Context, w io.Writer) {
		for ctx.Err() == nil {
			if _, err := io.WriteString(w, text); err != nil {
				return
			}
			if wait > 0 {
				select {
				case <-ctx.Done():
				case <-time.After(wait):
				}
			}
		}
	}
}

func silence(ctx context.Context, _ io.Writer) { <-ctx.Done() }

// withHeader answers with the document and these headers.
func withHeader(pairs ...string) func(h *host) http.HandlerFunc {
	return func(h *host) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i+1 < len(pairs); i += 2 {
				w.Header().Set(pairs[i], pairs[i+1])
			}
			w.Write(h.document())
		}
	}
}

func withStatus(status int, pairs ...string) func(h *host) http.HandlerFunc {
	return func(h *host) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i+1 < len(pairs); i += 2 {
				w.Header().Set(pairs[i], strings.ReplaceAll(pairs[i+1], "SELF", h.id.String()))
			}
			w.WriteHeader(status)
			if status != http.StatusNoContent && status != http.StatusNotModified {
				w.Write(h.document())
			}
		}
	}
}

func withBody(body func(h *host) []byte, pairs ...string) func(h *host) http.HandlerFunc {
	return func(h *host) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i+1 < len(pairs); i += 2 {
				w.Header().Set(pairs[i], pairs[i+1])
			}
			w.Write(body(h))
		}
	}
}

// newBomb returns some kilobytes that are 64 MiB when unpacked.
func newBomb() []byte {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		panic(err)
	}
	spaces := bytes.Repeat([]byte{' '}, 1<<20)
	for range 64 {
		z.Write(spaces)
	}
	z.Close()
	return b.Bytes()
}

func zipped(h *host) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(h.document())
	z.Close()
	return b.Bytes()
}

// saying writes a whole reply whose body is the document.
func saying(head string) func(h *host) http.HandlerFunc {
	return func(h *host) http.HandlerFunc {
		document := h.document()
		return raw(strings.ReplaceAll(head, "LENGTH", strconv.Itoa(len(document)))+string(document), nil)(h)
	}
}
