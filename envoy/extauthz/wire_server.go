package extauthz

import (
	"context"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
)

// Decode is of envoy/server's Decoder.
func (a *attributes) Decode(data []byte) error { return a.scan(data) }

// Encoded is of envoy/server's Encoder.
func (m message) Encoded() []byte { return m }

// Service is the generated description of the authorization service, but for
// the messages: a check arrives as attributes and is answered with an encoded reply.
func (c *Checks) Service() *grpc.ServiceDesc {
	info := &grpc.UnaryServerInfo{Server: c, FullMethod: authv3.Authorization_Check_FullMethodName}
	check := func(ctx context.Context, request any) (any, error) { //nolint:unparam // as grpc wants it
		return c.check(ctx, request.(*attributes)), nil
	}
	return &grpc.ServiceDesc{
		ServiceName: authv3.Authorization_ServiceDesc.ServiceName,
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: "Check",
			Handler: func(_ any, ctx context.Context, read func(any) error, guard grpc.UnaryServerInterceptor) (any, error) {
				request := new(attributes)
				if err := read(request); err != nil {
					return nil, err // Envoy refuses by itself
				}
				return guard(ctx, request, info, check)
			},
		}},
		Metadata: authv3.Authorization_ServiceDesc.Metadata,
	}
}
