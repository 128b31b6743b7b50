package extauthz

import (
	"context"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// Transport returns those gRPC options of a [Server] that only decide what a
// call costs: whoever compares costs takes the same.
func Transport() []grpc.ServerOption {
	return []grpc.ServerOption{
		// A goroutine that has answered calls has grown its stack already.
		grpc.NumStreamWorkers(64),
		// Checks are small: windows that adapt to larger messages would only
		// cost pings.
		grpc.StaticStreamWindowSize(64 << 10),
		grpc.StaticConnWindowSize(1 << 20),
	}
}

// A codec reads checks by [attributes.scan] and sends replies as they are.
// For every other message, those of the health service, it is protobuf's.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(proto.Name)} }

// Unmarshal runs before the interceptors do, so that a panic here would end the
// process: a check that cannot be read is refused instead, by Envoy.
func (c codec) Unmarshal(data mem.BufferSlice, to any) (err error) {
	check, ok := to.(*attributes)
	if !ok {
		return c.CodecV2.Unmarshal(data, to)
	}
	defer func() {
		if recover() != nil {
			err = errWire
		}
	}()
	buffer := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buffer.Free()
	return check.scan(buffer.ReadOnlyData())
}

func (c codec) Marshal(from any) (mem.BufferSlice, error) {
	reply, ok := from.(message)
	if !ok {
		return c.CodecV2.Marshal(from)
	}
	return mem.BufferSlice{mem.SliceBuffer(reply)}, nil
}

// service is the generated description of the authorization service, but for
// the messages: a check arrives as attributes and is answered with an encoded reply.
func (c *checks) service() *grpc.ServiceDesc {
	info := &grpc.UnaryServerInfo{Server: c, FullMethod: authv3.Authorization_Check_FullMethodName}
	check := func(ctx context.Context, request any) (any, error) { //nolint:unparam // as grpc wants it
		return c.Check(ctx, request.(*attributes)), nil
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
