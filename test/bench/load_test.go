package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const connections = 64

// A run is what was seen of one round.
type run struct {
	PerSecond float64       `json:"per_second"`
	P50       time.Duration `json:"p50_ns"`
	P99       time.Duration `json:"p99_ns"`
	Answered  int           `json:"answered"` // with what came before the first tenth was over

	// Processor time for each of these, of the server that was asked, of its
	// Redis, and of Envoy.
	Server time.Duration `json:"server_cpu_ns,omitempty"`
	Redis  time.Duration `json:"redis_cpu_ns,omitempty"`
	Envoy  time.Duration `json:"envoy_cpu_ns,omitempty"`
}

// A client sends one request after the other and returns when it is answered
// as it must be.
type client func() error

// load lets each client send for a while, all at once, and counts what came
// back after the first tenth of that while.
func load(t testing.TB, clients []client, during time.Duration) run {
	t.Helper()
	var (
		wait    sync.WaitGroup
		failure atomic.Pointer[error]
		all     = make([][]time.Duration, len(clients))
		total   atomic.Int64
		start   = time.Now()
		from    = start.Add(during / 10)
		until   = from.Add(during)
	)
	for i, send := range clients {
		wait.Go(func() {
			took := make([]time.Duration, 0, 4096)
			before, sent := time.Now(), int64(0)
			for before.Before(until) {
				if err := send(); err != nil {
					failure.Store(&err)
					return
				}
				sent++
				after := time.Now()
				if before.After(from) && after.Before(until) {
					took = append(took, after.Sub(before))
				}
				before = after
			}
			all[i] = took
			total.Add(sent)
		})
	}
	wait.Wait()
	if err := failure.Load(); err != nil {
		t.Fatal(*err)
	}
	took := slices.Concat(all...)
	if len(took) == 0 {
		t.Fatal("no request was answered")
	}
	slices.Sort(took)
	return run{
		PerSecond: float64(len(took)) / during.Seconds(),
		P50:       took[len(took)/2], P99: took[len(took)*99/100],
		Answered: int(total.Load()),
	}
}

// dialHTTP returns clients of HTTP/1.1, each with a connection of its own that
// is kept. They speak it themselves, so that they cost little of the machine.
// Together they send all requests in turn.
func dialHTTP(t testing.TB, addr string, requests [][]byte) []client {
	t.Helper()
	clients := make([]client, connections)
	for i := range clients {
		// Dialled when it is first used: Envoy closes those that say nothing for some seconds.
		var conn net.Conn
		var in *bufio.Reader
		next := i
		clients[i] = func() error {
			if conn == nil {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					return err
				}
				t.Cleanup(func() { c.Close() })
				conn, in = c, bufio.NewReader(c)
			}
			if _, err := conn.Write(requests[next%len(requests)]); err != nil {
				return err
			}
			next += connections
			_, err := readReply(in)
			return err
		}
	}
	return clients
}

// readReply reads a reply with 200 and Content-Length, and returns its body.
// The body is good until the next read.
func readReply(in *bufio.Reader) ([]byte, error) {
	status, err := in.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200 ")) {
		line := string(status)
		rest := make([]byte, min(in.Buffered(), 2048))
		io.ReadFull(in, rest)
		return nil, fmt.Errorf("answered with %s%s", line, rest)
	}
	length := -1
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte("content-length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return nil, err
			}
		}
	}
	if length < 0 || length > in.Size() {
		return nil, errors.New("a reply without a usable Content-Length")
	}
	body, err := in.Peek(length)
	if err != nil {
		return nil, err
	}
	in.Discard(length)
	return body, nil
}
