// Package server is the gRPC listener that Envoy asks at: TLS and the names of
// those who may ask, health, limits, guards against panics, and a shutdown that
// lets calls under way end. What is answered there are services of other packages
// (envoy/extauthz, envoy/extproc), which [New] registers.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// Limits of the gRPC listener.
const (
	maxMessageBytes  = 1 << 20 // Envoy's headers end at 60 KiB
	maxMetadataBytes = 16 << 10
	maxStreams       = 4096 // per connection; Envoy opens another one beyond
	handshakeTimeout = 5 * time.Second
	minPing          = 2 * time.Second // Envoy asks every 4 s whether we live, where it has streams to us
)

// Config configures a [Server].
type Config struct {
	Services []Service // at least one

	// Drain ends the streams of services that would go on for long, and returns when
	// all are ended, or ctx is; nil: there are none. A shutdown calls it once Envoy was
	// told to open no more of them here.
	Drain func(context.Context)

	// TLS must demand and verify client certificates. Nil is plaintext: for
	// Unix sockets and loopback, since the answers hold users' tokens. That
	// the listener is one of these is the caller's to check.
	TLS *tls.Config
	// ClientSANs are DNS names or URIs, one of which the client's certificate
	// must carry as a subject alternative name, byte for byte. Required with
	// TLS, refused without.
	ClientSANs []string

	Logger *slog.Logger // required
}

// A Service is one that Envoy calls: it describes itself, and implements what
// it describes. A message that says so decodes and encodes itself: see [Decoder]
// and [Encoder].
type Service interface {
	Service() *grpc.ServiceDesc
}

// A Server has Envoy's questions answered over gRPC and says by grpc.health.v1
// whether it is ready. It starts not ready.
type Server struct {
	grpc   *grpc.Server
	health *health.Server
	names  []string              // of the services
	drain  func(context.Context) // streams of services
	closed context.CancelFunc    // ends the streams of health checks

	// Clients are those who may ask, for others that serve the same; nil: there is
	// no TLS.
	Clients *Clients
}

// New returns a server that has no listener yet.
func New(c Config) (*Server, error) {
	switch {
	case len(c.Services) == 0 || slices.Contains(c.Services, nil):
		return nil, errors.New("envoy: Services are required")
	case c.Logger == nil:
		return nil, errors.New("envoy: Logger is required")
	}
	open, closed := context.WithCancel(context.Background())
	g := guards{logger: c.Logger, open: open}
	options := append(Transport(),
		grpc.MaxRecvMsgSize(maxMessageBytes),
		grpc.MaxHeaderListSize(maxMetadataBytes),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.UnaryInterceptor(g.unary),
		grpc.StreamInterceptor(g.stream),
		grpc.ForceServerCodecV2(NewCodec()),
	)
	var clients *Clients
	if c.TLS != nil {
		var err error
		if clients, err = NewClients(c.TLS, c.ClientSANs); err != nil {
			closed()
			return nil, err
		}
		options = append(options, grpc.Creds(credentials.NewTLS(clients.Config("h2"))))
	} else if len(c.ClientSANs) > 0 {
		closed()
		return nil, errors.New("envoy: client names can only be checked with TLS")
	}
	s := &Server{grpc: grpc.NewServer(options...), health: health.NewServer(), drain: c.Drain, closed: closed, Clients: clients}
	for _, service := range c.Services {
		description := service.Service()
		s.grpc.RegisterService(description, service)
		s.names = append(s.names, description.ServiceName)
	}
	healthv1.RegisterHealthServer(s.grpc, s.health)
	s.SetReady(false)
	return s, nil
}

// Serve answers on l until [Server.Shutdown], which makes it return nil. It
// closes l. It may be called for several listeners.
func (s *Server) Serve(l net.Listener) error {
	if s.Clients != nil {
		l = s.Clients.Listener(l)
	}
	if err := s.grpc.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("envoy: serve gRPC: %w", err)
	}
	return nil
}

// SetReady says by the health service, for the whole server and for each
// service, whether questions should come here. They are answered either way.
func (s *Server) SetReady(ready bool) {
	state := healthv1.HealthCheckResponse_NOT_SERVING
	if ready {
		state = healthv1.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus("", state)
	for _, name := range s.names {
		s.health.SetServingStatus(name, state)
	}
}

// told is how long Envoy has to hear, by the GOAWAY of each connection, that new calls
// go elsewhere, before streams are ended: else it would open those that follow here.
const told = 100 * time.Millisecond

// Shutdown says that this server is not ready, and on each connection that no more
// calls are taken; then it has streams ended that would go on for long, lets the
// calls under way end, and cuts those off that still run when ctx ends.
func (s *Server) Shutdown(ctx context.Context) {
	s.health.Shutdown()
	s.closed()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		s.grpc.GracefulStop()
	}()
	if s.drain != nil {
		timer := time.NewTimer(told)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		case <-drained:
		}
		s.drain(ctx)
	}
	select {
	case <-drained:
	case <-ctx.Done():
		s.grpc.Stop()
		<-drained
	}
}

// guards keep a panic in a handler from ending the process, and health checks from
// holding a shutdown up. Streams of services end as a service sees fit, or when the
// time of the shutdown is over.
type guards struct {
	logger *slog.Logger
	open   context.Context
}

func (g guards) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (response any, err error) {
	defer g.recovered(ctx, info.FullMethod, &err)
	return next(ctx, request)
}

func (g guards) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	defer g.recovered(stream.Context(), info.FullMethod, &err)
	if strings.HasPrefix(info.FullMethod, "/"+healthv1.Health_ServiceDesc.ServiceName+"/") {
		ctx, cancel := context.WithCancel(stream.Context())
		defer cancel()
		defer context.AfterFunc(g.open, cancel)()
		stream = boundStream{stream, ctx}
	}
	return next(srv, stream)
}

// recovered must be deferred itself. The value of a panic may hold anything
// that a caller sent: its type is enough.
func (g guards) recovered(ctx context.Context, method string, err *error) {
	if p := recover(); p != nil {
		g.logger.ErrorContext(ctx, "a gRPC handler panicked", "method", method, "panic", fmt.Sprintf("%T", p))
		*err = status.Error(codes.Internal, "internal error")
	}
}

// A boundStream is a stream with a context of ours.
type boundStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s boundStream) Context() context.Context { return s.ctx }
