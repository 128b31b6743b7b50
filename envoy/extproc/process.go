// Package extproc hears of exchanges by Envoy's ext_proc
// (envoy.service.ext_proc.v3): the same decision as envoy/extauthz gives, and what
// an authorization that is asked once cannot do, since here athd also hears of the
// reply, and can end what is under way.
//
// A filter says by gRPC metadata which role athd has on its streams, or which ones:
// see package envoy/exchange, by whose plain data roles hear and answer.
//
// Envoy takes a stream that ends without an error for consent: the request goes on as
// it came. So no stream ends so before a message was answered; whatever is odd is an
// error.
package extproc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/athd/athd/envoy/exchange"
)

// maxHear bounds what is done for one message, and how long a stream may be open
// without one.
const maxHear = 5 * time.Second

// Config configures a [Processor].
type Config struct {
	Roles   exchange.Roles
	Default []string     // roles of filters that can say none; empty: such a stream is an error
	Logger  *slog.Logger // required
}

// A Processor is the service that Envoy calls.
type Processor struct {
	extprocv3.UnimplementedExternalProcessorServer
	config Config
}

// New returns the service, for a server of package envoy/server.
func New(c Config) (*Processor, error) {
	if c.Logger == nil {
		return nil, errors.New("envoy: Logger is required")
	}
	if len(c.Default) > 0 {
		if err := c.Roles.Know(c.Default); err != nil {
			return nil, err
		}
	}
	return &Processor{config: c}, nil
}

// Service is of package envoy/server.
func (p *Processor) Service() *grpc.ServiceDesc { return &extprocv3.ExternalProcessor_ServiceDesc }

type conversation = grpc.BidiStreamingServer[extprocv3.ProcessingRequest, extprocv3.ProcessingResponse]

// Process hears of one exchange.
func (p *Processor) Process(with conversation) (err error) {
	ctx := with.Context()
	said, _ := metadata.FromIncomingContext(ctx)
	defer func() { p.recovered(ctx, recover(), &err) }()
	stream, err := exchange.NewStream(said, p.config.Default)
	if err == nil {
		err = p.config.Roles.Know(stream.Roles)
	}
	if err != nil {
		return p.odd(ctx, err)
	}
	hearing := p.config.Roles.Open(stream)
	defer hearing.Close()
	c := &call{processor: p, with: with, stream: stream, hearing: hearing}
	defer c.leave()
	return p.status(ctx, c.run(ctx))
}

// recovered has a role that panicked fail. The value may hold anything that a caller
// sent: its type is enough.
func (p *Processor) recovered(ctx context.Context, panicked any, err *error) {
	if panicked == nil {
		return
	}
	p.config.Logger.ErrorContext(ctx, "a role of ext_proc panicked; the exchange is ended", "panic", fmt.Sprintf("%T", panicked))
	*err = status.Error(codes.Internal, "internal error")
}

// status is how a stream ends by err.
func (p *Processor) status(ctx context.Context, err error) error {
	end, deliberate := errors.AsType[exchange.End](err)
	switch _, ofGRPC := status.FromError(err); {
	case ofGRPC: // nil, too
		return err
	case deliberate:
		return status.Error(codes.Aborted, end.Error())
	case ctx.Err() != nil:
		return status.FromContextError(ctx.Err()).Err()
	}
	return p.odd(ctx, err)
}

// odd is the end of a stream that is not as it must be.
func (p *Processor) odd(ctx context.Context, err error) error {
	p.config.Logger.WarnContext(ctx, "a stream of ext_proc cannot be heard; its exchange is ended", "error", err)
	if errors.Is(err, context.DeadlineExceeded) {
		return status.Error(codes.DeadlineExceeded, "no answer in time")
	}
	return status.Error(codes.FailedPrecondition, "the exchange cannot be heard")
}

// A call is one stream. Its handler waits for Envoy's messages; whoever ends it
// meanwhile says so to Envoy himself ([call.finish]).
type call struct {
	processor *Processor
	with      conversation
	stream    *exchange.Stream
	hearing   exchange.Hearing

	mu     sync.Mutex     // held by whoever answers
	heard  exchange.Phase // the last one that was answered
	silent *time.Timer    // nil: there was a message
	over   bool           // nobody answers any more
	result error          // where another than the handler ended it
}

// run hears and answers until somebody ends the stream.
func (c *call) run(ctx context.Context) error {
	next := c.next
	if !exchange.IsPlain(c.hearing) {
		if err := c.last(ctx); err != nil {
			return err
		}
		next = c.nextApart
	}
	for {
		if over, err := next(ctx); over || err != nil {
			return err
		}
	}
}

// next waits for a message, and does what it asks for.
func (c *call) next(ctx context.Context) (over bool, _ error) {
	message, err := c.with.Recv()
	return c.step(ctx, message, err)
}

// step does what one message, or the end of them, asks for.
func (c *call) step(ctx context.Context, message *extprocv3.ProcessingRequest, err error) (over bool, _ error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.silent != nil {
		c.silent.Stop()
		c.silent = nil
	}
	switch {
	case c.over:
		return true, c.result
	case err != nil:
		return true, c.end(err)
	}
	return c.answer(ctx, message)
}

// leave says that the handler is gone, and with it the stream.
func (c *call) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.silent != nil {
		c.silent.Stop()
	}
}

// answer answers one message, and says whether it was the last one. An error is an
// answer, too: the end of the stream alone would let the exchange go on where a filter
// lets failures pass.
func (c *call) answer(ctx context.Context, message *extprocv3.ProcessingRequest) (over bool, err error) {
	phase, reply, err := c.hear(ctx, message)
	if err != nil {
		_ = c.with.Send(write(phase, &exchange.Reply{Refusal: cmp.Or(reply.Refusal, failed)})) // the stream ends by the error, whether or not it arrives
		return true, err
	}
	if err := c.with.Send(write(phase, &reply)); err != nil {
		return true, err
	}
	c.heard = phase
	return reply.Refusal != nil, nil
}

// failed refuses what athd cannot hear. Envoy says it in its own words.
var failed = &exchange.Refusal{Status: http.StatusServiceUnavailable, Details: "ath_failed"}

// hear asks the role about a message. One that panics fails.
func (c *call) hear(ctx context.Context, message *extprocv3.ProcessingRequest) (phase exchange.Phase, reply exchange.Reply, err error) {
	defer func() { c.processor.recovered(ctx, recover(), &err) }()
	m, err := read(message)
	switch {
	case err != nil:
		return 0, reply, err
	case m.Phase <= c.heard:
		return 0, reply, errOrder
	case m.Observed && !c.stream.MayObserve():
		return 0, reply, errObserver
	}
	ctx, cancel := context.WithTimeout(ctx, maxHear)
	defer cancel()
	reply, err = c.hearing.Hear(ctx, m)
	return m.Phase, reply, err
}

// end ends the stream: cleanly (EOF) only when a message was answered.
func (c *call) end(err error) error {
	refusal, refuses := errors.AsType[*exchange.Refusal](err)
	switch clean := errors.Is(err, io.EOF); {
	case c.heard == 0 && (clean || refuses):
		return errUnjudged
	case clean:
		return nil
	case refuses:
		return c.with.Send(write(c.heard, &exchange.Reply{Refusal: refusal}))
	}
	return err
}
