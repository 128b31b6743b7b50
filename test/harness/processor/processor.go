// Package processor has an external processor (ext_proc) for tests, that answers
// Envoy as a script says: right, or spoiled in one of the ways of [Faults] and
// [WireFaults], at a [Moment] of a stream.
//
//	p := processor.Start(t)
//	p.Play(processor.Honest(answer))
//	p.Play(processor.Spoiled(answer, processor.Moment{Of: processor.RequestHead}, fault))
//	p.PlayWire(processor.SpoiledWire(answer, moment, fault))
//
// What answers right is the test's: an [Answer].
package processor

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/athd/athd/test/harness/reserve"
)

// An Answer is what is right to say to a message of a stream, whose gRPC metadata
// come from Envoy's configuration.
type Answer func(metadata.MD, *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse

// A Script answers one stream. What it returns ends the stream.
type Script func(*Stream) error

// A Stream is one of Envoy's, as the server sees it.
type Stream struct {
	extprocv3.ExternalProcessor_ProcessServer
	Metadata metadata.MD
}

// Hold keeps the stream open until Envoy ends it, and answers nothing.
func (s *Stream) Hold() error {
	for {
		if _, err := s.Recv(); err != nil {
			return status.FromContextError(s.Context().Err()).Err()
		}
	}
}

// A Server is what Envoy asks.
type Server struct {
	Addr string // host:port

	t        testing.TB
	grpc     *grpc.Server
	accepted *queue

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
	script   Script
	wire     func(net.Conn)
	streams  int
	ended    bool
}

// Start runs a server until the test ends. It says that it is healthy, and refuses
// every stream until it is told what to play.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{
		Addr: reserve.Addr(t), t: t, conns: map[net.Conn]bool{}, accepted: newQueue(),
		// Messages as large as a script likes.
		grpc: grpc.NewServer(grpc.MaxSendMsgSize(64<<20), grpc.ForceServerCodecV2(codec{})),
	}
	extprocv3.RegisterExternalProcessorServer(s.grpc, service{s: s})
	healthv1.RegisterHealthServer(s.grpc, healthy{})
	go s.grpc.Serve(s.accepted)
	s.listen()
	t.Cleanup(func() {
		s.mu.Lock()
		s.ended = true
		s.mu.Unlock()
		s.hangUp()
		s.grpc.Stop()
	})
	return s
}

// Play answers each stream from now on by a script. Connections of before are
// closed, so that nothing is left of what was played on them.
func (s *Server) Play(script Script) { s.change(script, nil) }

// PlayWire leaves each connection from now on to a function, which need not close
// it; connections of before are closed.
func (s *Server) PlayWire(do func(net.Conn)) { s.change(nil, do) }

// Refuse closes the listener: who connects is told that nobody is there.
func (s *Server) Refuse() {
	s.t.Helper()
	s.hangUp()
	s.until("nobody listens", func() (bool, error) {
		conn, err := net.Dial("tcp", s.Addr)
		if err == nil {
			conn.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED), err
	})
}

// until waits for what a closed listener leaves behind: a process that is being
// started has a copy of every descriptor until it runs, of a listener too.
func (s *Server) until(what string, is func() (bool, error)) {
	s.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		yes, err := is()
		if yes {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("not so: %s: %v", what, err)
		}
	}
}

// Streams is how many streams came to a script since it is played.
func (s *Server) Streams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams
}

func (s *Server) change(script Script, wire func(net.Conn)) {
	s.hangUp()
	s.mu.Lock()
	s.script, s.wire, s.streams = script, wire, 0
	s.mu.Unlock()
	s.listen()
}

// hangUp closes the listener and all connections.
func (s *Server) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		s.listener.Close()
		s.listener = nil
	}
	for c := range s.conns {
		c.Close()
	}
	clear(s.conns)
}

func (s *Server) listen() {
	s.t.Helper()
	var l net.Listener
	s.until("the port is free", func() (_ bool, err error) {
		l, err = net.Listen("tcp", s.Addr)
		return err == nil, err
	})
	s.mu.Lock()
	s.listener = l
	s.mu.Unlock()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			wire, current := s.wire, s.listener == l && !s.ended
			if current {
				s.conns[conn] = true
			}
			s.mu.Unlock()
			switch {
			case !current:
				conn.Close()
			case wire != nil:
				go wire(conn)
			default:
				s.accepted.put(conn)
			}
		}
	}()
}

type service struct {
	extprocv3.UnimplementedExternalProcessorServer
	s *Server
}

func (v service) Process(stream extprocv3.ExternalProcessor_ProcessServer) error {
	v.s.mu.Lock()
	script := v.s.script
	v.s.streams++
	v.s.mu.Unlock()
	if script == nil {
		return status.Error(codes.Unavailable, "nothing is played")
	}
	md, _ := metadata.FromIncomingContext(stream.Context())
	return script(&Stream{stream, md})
}

// healthy says yes to whoever asks after any service.
type healthy struct {
	healthv1.UnimplementedHealthServer
}

func (healthy) Check(context.Context, *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	return &healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_SERVING}, nil
}

// A queue is a listener whose connections somebody else accepted.
type queue struct {
	conns chan net.Conn
	once  sync.Once
	over  chan struct{}
}

func newQueue() *queue { return &queue{conns: make(chan net.Conn), over: make(chan struct{})} }

func (q *queue) put(c net.Conn) {
	select {
	case q.conns <- c:
	case <-q.over:
		c.Close()
	}
}

func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.over:
		return nil, io.EOF
	}
}

func (q *queue) Close() error {
	q.once.Do(func() { close(q.over) })
	return nil
}

func (q *queue) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
