package streams

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// overHTTP1 gives each exchange a connection, which it would keep for the next one;
// overHTTP2 gives up to a hundred of them one.
var (
	overHTTP1 = sync.OnceValue(func() *http.Transport { return transport(false) })
	overHTTP2 = sync.OnceValue(func() *http.Transport { return transport(true) })
)

func transport(two bool) *http.Transport {
	t := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	t.Protocols.SetHTTP1(!two)
	t.Protocols.SetUnencryptedHTTP2(two)
	return t
}

func (k Kind) transport() *http.Transport {
	if k.HTTP2 {
		return overHTTP2()
	}
	return overHTTP1()
}

func (k Kind) request(ctx context.Context, method string, c Caller, id string, body io.Reader) (*http.Request, error) {
	query, err := url.ParseQuery(k.Query)
	if err != nil {
		return nil, err
	}
	if !query.Has("id") {
		query.Set("id", id)
	}
	if c.Every != "" {
		query.Set("every", c.Every)
	}
	u := url.URL{Scheme: "http", Host: c.Envoy, Path: c.Prefix + k.Path, RawQuery: query.Encode()}
	r, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	r.Host = cmp.Or(c.Host, k.Host)
	r.Header.Set("Authorization", "Bearer "+c.Token)
	r.Header.Set("X-Ath-Agent-Id", c.Agent)
	switch k.Path {
	case EventsPath:
		r.Header.Set("Accept", "text/event-stream")
	case PollPath:
		r.Header.Set("Prefer", "wait=300") // RFC 7240, section 4.3
	}
	return r, nil
}

// get reads a reply that does not end.
func get(ctx context.Context, k Kind, _ *API, c Caller, id string) (*Stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	s := newStream(k.Name, cancel)
	r, err := k.request(ctx, http.MethodGet, c, id, nil)
	if err != nil {
		cancel()
		return nil, err
	}
	late := time.AfterFunc(patience, cancel)
	resp, err := k.transport().RoundTrip(r)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = refused(resp)
	}
	if err == nil {
		_, err = io.ReadFull(resp.Body, make([]byte, 1)) // it is under way
	}
	if !late.Stop() && err == nil {
		err = context.DeadlineExceeded
	}
	if err != nil {
		cancel()
		return nil, err
	}
	go func() {
		defer resp.Body.Close()
		s.read(resp.Body)
	}()
	return s, nil
}

// poll waits for a reply, which has not begun when it returns.
func poll(ctx context.Context, k Kind, a *API, c Caller, id string) (*Stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	r, err := k.request(ctx, http.MethodGet, c, id, nil)
	if err != nil {
		cancel()
		return nil, err
	}
	return k.answerLater(ctx, cancel, a, r, id)
}

// post sends a body at the API's pace, and returns when the API reads it.
func post(withLength bool) func(context.Context, Kind, *API, Caller, string) (*Stream, error) {
	return func(ctx context.Context, k Kind, a *API, c Caller, id string) (*Stream, error) {
		ctx, cancel := context.WithCancel(ctx)
		body, feed := io.Pipe()
		r, err := k.request(ctx, http.MethodPost, c, id, body)
		if err != nil {
			cancel()
			return nil, err
		}
		if withLength {
			r.ContentLength = 64 << 20
		}
		go func() {
			piece, tick := make([]byte, 1024), time.NewTicker(pace)
			defer tick.Stop()
			for {
				if _, err := feed.Write(piece); err != nil {
					return
				}
				select {
				case <-ctx.Done():
					feed.CloseWithError(ctx.Err())
					return
				case <-tick.C:
				}
			}
		}()
		return k.answerLater(ctx, cancel, a, r, id)
	}
}

// answerLater sends a request whose answer is its end.
func (k Kind) answerLater(ctx context.Context, cancel context.CancelFunc, a *API, r *http.Request, id string) (*Stream, error) {
	s := newStream(k.Name, cancel)
	refusal := make(chan error, 1)
	go func() {
		resp, err := k.transport().RoundTrip(r)
		if err != nil {
			refusal <- err
			s.finish(how(err))
			return
		}
		s.touch()
		err = refused(resp)
		refusal <- err
		s.finish(fmt.Sprintf("status %d", resp.StatusCode))
	}()
	return s, s.begun(ctx, a, id, refusal)
}

// begun waits until the API has begun.
func (s *Stream) begun(ctx context.Context, a *API, id string, refusal <-chan error) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-a.Began(id):
		return nil
	case err := <-refusal:
		return err
	case <-timer.C:
		s.cancel()
		return errors.New("the API has not begun")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// socket opens a WebSocket, on which both sides send lines.
func socket(ctx context.Context, k Kind, _ *API, c Caller, id string) (*Stream, error) {
	r, err := k.request(ctx, http.MethodGet, c, id, nil)
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("tcp", c.Envoy)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(patience))
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nX-Ath-Agent-Id: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eDp5eDp5eDp5eDp5eDp5eA==\r\n\r\n", r.URL.RequestURI(), r.Host, r.Header.Get("Authorization"), c.Agent)
	if err != nil {
		conn.Close()
		return nil, err
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, r)
	if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
		err = refused(resp)
	}
	if err == nil {
		_, err = in.ReadString('\n')
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	conn.SetDeadline(time.Time{})
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	s := newStream(k.Name, cancel)
	go func() {
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for {
			select {
			case <-s.ended:
				return
			case <-tick.C:
				if _, err := io.WriteString(conn, "tick\n"); err != nil {
					return
				}
			}
		}
	}()
	go func() {
		defer conn.Close()
		defer stop()
		s.read(in)
	}()
	return s, nil
}
