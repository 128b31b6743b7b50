// Package extauthz answers Envoy's checks (envoy.service.auth.v3), and is the only
// importer of grpc.
//
// [Server] turns a CheckRequest into an [authz.Request], asks for a decision, and
// turns the decision into a CheckResponse. Code 0 of that reply means "allow" to
// Envoy, also when the rest of it is empty; so replies are built in one place,
// which refuses unless a decision allows.
package extauthz

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/athd/athd/authz"
)

// Limits of the gRPC listener.
const (
	maxMessageBytes  = 1 << 20 // Envoy's headers end at 60 KiB
	maxMetadataBytes = 16 << 10
	maxStreams       = 4096 // per connection; Envoy opens another one beyond
	handshakeTimeout = 5 * time.Second
	minPing          = 5 * time.Second
)

// Config configures a [Server].
type Config struct {
	Decide func(context.Context, authz.Request) authz.Decision // required

	// TLS must demand and verify client certificates. Nil is plaintext: for
	// Unix sockets and loopback, since the answers hold users' tokens. That
	// the listener is one of these is the caller's to check.
	TLS *tls.Config
	// ClientSANs are DNS names or URIs, one of which the client's certificate
	// must carry as a subject alternative name, byte for byte. Required with
	// TLS, refused without.
	ClientSANs []string

	// TrustedHops is how many proxies in front of Envoy are believed about the
	// client's address, which only events tell.
	TrustedHops int

	Logger *slog.Logger // required
}

// A Server answers Envoy's checks over gRPC (envoy.service.auth.v3) and says
// by grpc.health.v1 whether it is ready. It starts not ready.
type Server struct {
	grpc   *grpc.Server
	health *health.Server
	closed context.CancelFunc // ends the streams, which only health checks open
}

// NewServer returns a server that has no listener yet.
func NewServer(c Config) (*Server, error) {
	switch {
	case c.Decide == nil:
		return nil, errors.New("envoy: Decide is required")
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
		grpc.ForceServerCodecV2(newCodec()),
	)
	if c.TLS != nil {
		t, err := DemandClient(c.TLS, c.ClientSANs)
		if err != nil {
			closed()
			return nil, err
		}
		options = append(options, grpc.Creds(credentials.NewTLS(t)))
	} else if len(c.ClientSANs) > 0 {
		closed()
		return nil, errors.New("envoy: client names can only be checked with TLS")
	}
	s := &Server{grpc: grpc.NewServer(options...), health: health.NewServer(), closed: closed}
	answering := &checks{decide: c.Decide, logger: c.Logger, hops: c.TrustedHops}
	s.grpc.RegisterService(answering.service(), answering)
	healthv1.RegisterHealthServer(s.grpc, s.health)
	s.SetReady(false)
	return s, nil
}

// Serve answers on l until [Server.Shutdown], which makes it return nil. It
// closes l. It may be called for several listeners.
func (s *Server) Serve(l net.Listener) error {
	if err := s.grpc.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("envoy: serve checks: %w", err)
	}
	return nil
}

// SetReady says by the health service, for the whole server and for the
// authorization service, whether checks should come here. Checks are answered
// either way.
func (s *Server) SetReady(ready bool) {
	state := healthv1.HealthCheckResponse_NOT_SERVING
	if ready {
		state = healthv1.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus("", state)
	s.health.SetServingStatus(authv3.Authorization_ServiceDesc.ServiceName, state)
}

// Shutdown stops taking connections, lets the checks under way end, and cuts
// those off that still run when ctx ends.
func (s *Server) Shutdown(ctx context.Context) {
	s.health.Shutdown()
	s.closed()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		s.grpc.GracefulStop()
	}()
	select {
	case <-drained:
	case <-ctx.Done():
		s.grpc.Stop()
		<-drained
	}
}

// guards keep a panic in a handler from ending the process, and streams from
// outliving the server. [checks] has its own recover, which refuses.
type guards struct {
	logger *slog.Logger
	open   context.Context
}

func (g guards) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (response any, err error) {
	defer g.recovered(ctx, info.FullMethod, &err)
	return next(ctx, request)
}

func (g guards) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(g.open, cancel)()
	defer g.recovered(ctx, info.FullMethod, &err)
	return next(srv, boundStream{stream, ctx})
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
