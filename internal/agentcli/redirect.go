package agentcli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/cli"
)

const (
	callbackPath   = "/callback"
	maxPastedBytes = 8 << 10
)

// errDenied is that the user said no.
var errDenied = errors.New("the user did not allow it\nnext: do not ask again at once; authorize again when the user wants it")

// A pendingRedirect is the answer that an agent waits for, from the user's
// browser (C-6).
type pendingRedirect struct{ client.Authorization }

// code reads the one-time code out of an answer. ours is false for an answer
// to something else, which should not end the waiting.
func (p pendingRedirect) code(q url.Values) (code ath.Secret, ours bool, err error) {
	code, err = p.Code(q)
	if errors.Is(err, client.ErrOtherAnswer) {
		return code, false, err
	}
	if e, ok := errors.AsType[*client.CallbackError](err); ok {
		if e.Denied() {
			return code, true, errDenied
		}
		return code, true, fmt.Errorf("the authorization failed: %s: %s\nnext: authorize again; if it stays, the operator sees the cause in athd's log",
			cli.Printable(e.Code, 60), cli.Printable(e.Description, 300))
	}
	if e, ok := errors.AsType[*client.IssuerError](err); ok {
		return code, true, fmt.Errorf("the answer comes from %q, and not from %s\nnext: --server must be the server's public URL, byte for byte", cli.Printable(e.Got, 300), e.Want)
	}
	return code, true, err
}

// pasted reads what a person has copied: the code, or the whole URL to which
// the browser was sent.
func (p pendingRedirect) pasted(text string) (ath.Secret, error) {
	text = strings.TrimSpace(text)
	switch u, err := url.Parse(text); {
	case text == "":
		return ath.Secret{}, errors.New("nothing was pasted")
	case strings.HasPrefix(text, "ath_code_"):
		return ath.NewSecret(text), nil
	case err == nil && u.IsAbs() && u.RawQuery != "":
		code, _, err := p.code(u.Query())
		return code, err
	}
	return ath.Secret{}, errors.New("that is neither a code (ath_code_…) nor the URL that the browser was sent to")
}

// readPasted reads one line.
func (p pendingRedirect) readPasted(ctx context.Context, from io.Reader) (ath.Secret, error) {
	type line struct {
		text string
		err  error
	}
	read := make(chan line, 1)
	go func() { // ends with the line, or with the process
		text, err := readUntilNewline(from)
		read <- line{text, err}
	}()
	select {
	case l := <-read:
		if l.err != nil {
			return ath.Secret{}, l.err
		}
		return p.pasted(l.text)
	case <-ctx.Done():
		return ath.Secret{}, ctx.Err()
	}
}

// readUntilNewline takes no byte beyond the line: what follows is not ours.
func readUntilNewline(from io.Reader) (string, error) {
	var text []byte
	for one := make([]byte, 1); len(text) < maxPastedBytes; {
		n, err := from.Read(one)
		if n == 1 && one[0] == '\n' || errors.Is(err, io.EOF) {
			return string(text), nil
		}
		if err != nil {
			return "", err
		}
		text = append(text, one[:n]...)
	}
	return "", fmt.Errorf("what was pasted is longer than %d bytes", maxPastedBytes)
}

// A redirectListener waits on a loopback port for the user's browser.
type redirectListener struct {
	URI    string // where the browser is to be sent
	server *http.Server
	got    chan answer // takes one

	mu      sync.Mutex
	expects *pendingRedirect // nil: nothing yet, or nothing any more
}

type answer struct {
	code ath.Secret
	err  error
}

// listenForRedirect opens a port of the kernel's choice.
func listenForRedirect() (*redirectListener, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &redirectListener{
		URI: "http://" + listener.Addr().String() + callbackPath,
		got: make(chan answer, 1),
	}
	l.server = &http.Server{
		Handler:     http.HandlerFunc(l.serve),
		ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10,
	}
	go l.server.Serve(listener) // ends with close
	return l, nil
}

// wait returns the code that a browser brings.
func (l *redirectListener) wait(ctx context.Context, p pendingRedirect) (ath.Secret, error) {
	l.mu.Lock()
	l.expects = &p
	l.mu.Unlock()
	select {
	case got := <-l.got:
		return got.code, got.err
	case <-ctx.Done():
		return ath.Secret{}, ctx.Err()
	}
}

// close lets the page that says so reach the browser.
func (l *redirectListener) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if l.server.Shutdown(ctx) != nil {
		l.server.Close()
	}
}

func (l *redirectListener) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer") // this URL holds the code
	// A page elsewhere may have a name of its own resolve to this address (DNS
	// rebinding): its Host is another.
	if r.Method != http.MethodGet || r.URL.Path != callbackPath || "http://"+r.Host+callbackPath != l.URI {
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, page("There is nothing here."))
		return
	}
	status, text := l.judge(r.URL.Query())
	w.WriteHeader(status)
	io.WriteString(w, page(text))
}

// judge hands on the first answer that is ours. Any other changes nothing:
// whoever finds the port can send one.
func (l *redirectListener) judge(q url.Values) (status int, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.expects == nil {
		return http.StatusBadRequest, "athctl waits for nothing."
	}
	code, ours, err := l.expects.code(q)
	if !ours {
		return http.StatusBadRequest, "This is not the answer that athctl waits for."
	}
	l.expects = nil
	l.got <- answer{code, err}
	if err != nil {
		return http.StatusOK, "It was not allowed, or did not work. athctl says more. You can close this page."
	}
	return http.StatusOK, "The agent has its answer. You can close this page."
}

func page(text string) string {
	return "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>athctl</title><p>" + text + "</p></html>\n"
}
