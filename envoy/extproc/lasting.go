package extproc

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Streams may last, and be silent for hours, ten thousand at a time: what each costs
// is mostly its goroutine's stack. So there is one goroutine, the handler, which waits
// in gRPC and does nothing else there.

// A transport is gRPC's side of a stream, as far as it must be known to end one whose
// handler waits for a message.
//
// gRPC does not promise this method: that the pinned version has it, that the client
// gets what was sent before, and that the handler's wait ends, is held by the tests
// of this package.
type transport interface {
	WriteStatus(s *status.Status) error
}

var (
	errTransport = errors.New("this version of gRPC cannot end a stream from outside of its handler")
	errSilent    = fmt.Errorf("no message came: %w", context.DeadlineExceeded)
)

// last lets others than the handler end the stream, which may last from now on: who
// calls [exchange.Stream.End], and the silence of an Envoy that sends no message.
func (c *call) last(ctx context.Context) error {
	to, ok := grpc.ServerTransportStreamFromContext(ctx).(transport)
	if !ok {
		return errTransport
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent = time.AfterFunc(maxHear, func() { c.finish(ctx, to, errSilent) })
	c.stream.OnEnd(func() { c.finish(ctx, to, cmp.Or(c.stream.Why(), io.EOF)) })
	return nil
}

// finish ends the stream from outside of its handler, once the message that is being
// heard is answered. The handler's wait then ends, and it returns what Envoy was told
// here.
func (c *call) finish(ctx context.Context, to transport, why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over || c.silent == nil && errors.Is(why, errSilent) { // a message came
		return
	}
	c.over = true
	func() {
		defer func() { c.processor.recovered(ctx, recover(), &c.result) }()
		c.result = c.processor.status(ctx, c.end(why))
	}()
	said := status.New(codes.OK, "")
	if c.result != nil {
		said = status.Convert(c.result)
	}
	_ = to.WriteStatus(said) // else the connection is gone, and the stream with it
}

// nextApart is next on a stack of its own, which is gone when there is an answer.
func (c *call) nextApart(ctx context.Context) (over bool, err error) {
	var raw unread
	err = c.with.RecvMsg(&raw)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { c.processor.recovered(ctx, recover(), &err) }()
		message := new(extprocv3.ProcessingRequest)
		if err == nil {
			err = proto.Unmarshal(raw, message)
		}
		over, err = c.step(ctx, message, err)
	}()
	<-done
	return over, err
}

// unread is a message as it came.
type unread []byte

// Decode is of the codec of package envoy/server.
func (u *unread) Decode(data []byte) error {
	*u = bytes.Clone(data)
	return nil
}
