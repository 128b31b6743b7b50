package server

import (
	"errors"

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

// A Decoder is a message that reads itself, and keeps nothing of the bytes.
type Decoder interface{ Decode(data []byte) error }

// An Encoder is a message that is encoded already.
type Encoder interface{ Encoded() []byte }

// A Codec reads and writes messages that do so by themselves. For every other
// message it is protobuf's.
type Codec struct{ encoding.CodecV2 }

// NewCodec returns the codec of a [Server].
func NewCodec() Codec { return Codec{encoding.GetCodecV2(proto.Name)} }

var errUnreadable = errors.New("the message cannot be read")

// Unmarshal runs before the interceptors do, so that a panic here would end the
// process: a message that cannot be read is an error, and Envoy refuses.
func (c Codec) Unmarshal(data mem.BufferSlice, to any) (err error) {
	defer func() {
		if recover() != nil {
			err = errUnreadable
		}
	}()
	message, ok := to.(Decoder)
	if !ok {
		return c.CodecV2.Unmarshal(data, to)
	}
	buffer := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buffer.Free()
	return message.Decode(buffer.ReadOnlyData())
}

// Marshal is of [encoding.CodecV2].
func (c Codec) Marshal(from any) (mem.BufferSlice, error) {
	message, ok := from.(Encoder)
	if !ok {
		return c.CodecV2.Marshal(from)
	}
	return mem.BufferSlice{mem.SliceBuffer(message.Encoded())}, nil
}
