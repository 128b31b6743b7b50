package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/athd/athd/internal/wire"
)

// streamPath is a reply of the shop's that never ends by itself.
const streamPath = "/api/products/events"

const (
	eventWait = 5 * time.Second        // for the next event
	endWait   = 5 * time.Second        // for the end of a stream
	atOnce    = 500 * time.Millisecond // also where the demo's machine is busy
)

// A following is a stream that the agent has open.
type following struct {
	events chan string // closed when the stream is over
	by     *http.Transport
	cancel context.CancelFunc
}

func (f *following) close() {
	if f != nil {
		f.cancel()
		f.by.CloseIdleConnections()
	}
}

// follow opens a stream with the agent's token.
func (w *walk) follow(ctx context.Context) (*following, *http.Response, error) {
	by := wire.Local()
	ctx, cancel := context.WithCancel(ctx)
	f := &following{events: make(chan string), by: by, cancel: cancel}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.Public+streamPath+"?follow", nil)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	r.Header = wire.AsAgent(w.agent.ID(), w.token)
	resp, err := by.RoundTrip(r)
	if err != nil {
		f.close()
		return nil, nil, err
	}
	go f.read(ctx, resp.Body)
	return f, resp, nil
}

// read passes events on until there are no more.
func (f *following) read(ctx context.Context, body io.ReadCloser) {
	defer close(f.events)
	defer body.Close()
	for lines := bufio.NewScanner(body); lines.Scan(); {
		event, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		select {
		case f.events <- event:
		case <-ctx.Done():
			return
		}
	}
}

// next is the next event.
func (f *following) next(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, eventWait)
	defer cancel()
	select {
	case event, open := <-f.events:
		if !open {
			return "", errors.New("the stream has ended")
		}
		return event, nil
	case <-ctx.Done():
		return "", errors.New("the stream says nothing")
	}
}

// stream opens one, and leaves it open.
func (w *walk) stream(ctx context.Context) error {
	f, resp, err := w.follow(ctx) //nolint:bodyclose // whoever follows it closes it
	if err != nil {
		return err
	}
	w.open = f
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the stream is answered %d", resp.StatusCode)
	}
	var said strings.Builder
	var gaps time.Duration
	for i := range 4 {
		began := time.Now()
		event, err := f.next(ctx)
		if err != nil {
			return err
		}
		if i > 0 {
			gaps += time.Since(began)
		}
		fmt.Fprintf(&said, "data: %s\n\n", event)
	}
	if !w.quiet {
		w.out.Exchange(&wire.Exchange{
			Method: http.MethodGet, URL: w.Public + streamPath + "?follow", Sent: resp.Request.Header,
			Status: resp.StatusCode, Header: resp.Header, Reply: []byte(said.String()),
		})
	}
	w.check(gaps > 100*time.Millisecond, "events come one by one, as the shop writes them: one in 100 ms", gaps)
	return nil
}

// streamEnds looks whether the stream has ended at once by what began at a time.
func (w *walk) streamEnds(ctx context.Context, at time.Time) {
	ctx, cancel := context.WithTimeout(ctx, endWait)
	defer cancel()
	for {
		select {
		case _, open := <-w.open.events:
			if open {
				continue // was on its way
			}
			took := time.Since(at)
			w.line("   the stream has ended, %d ms after the agent gave the token back", took.Milliseconds())
			w.check(took < atOnce, "V-4: the stream that the token had opened has ended at once", took)
			return
		case <-ctx.Done():
			w.check(false, "V-4: the stream that the token had opened has ended at once", "it goes on")
			return
		}
	}
}
