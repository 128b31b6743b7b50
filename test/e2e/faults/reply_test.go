package faults

import (
	"slices"
	"strings"
	"testing"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/metadata"

	"github.com/athd/athd/envoy/bootstrap"
	"github.com/athd/athd/test/harness/processor"
)

const (
	checked  = "goes on, checked"
	asIs     = "**goes on as the API sent it**"
	inPlace  = "as it says"
	garbled  = "a head that no client reads"
	echoHead = "X-Echo"
)

// consents are what Envoy takes for an answer that finds nothing in a reply. No guard
// can stand behind the check, as it does behind a decision: athd must never say so of
// what it did not read, and ends no stream cleanly before it has answered.
var consents = []string{"a clean end", "trailers only, grpc-status 0", "an answer about the reply's head"}

// takeOut is what athd answers to a reply's head that says the user's token.
func takeOut(md metadata.MD, q *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
	answer := goOn(md, q)
	if h := answer.GetResponseHeaders(); h != nil {
		h.Response.HeaderMutation = &extprocv3.HeaderMutation{RemoveHeaders: []string{strings.ToLower(echoHead)}}
	}
	return answer
}

// However the stream ends or is spoiled on which athd checks the head of a reply: no
// head that was not checked reaches an agent, but where Envoy is told that it was, and nothing waits longer than its
// time-out.
// proves: P-9
func TestNoSpoiledCheckLetsAReplyThrough(t *testing.T) {
	moments := []processor.Moment{{Of: processor.Opening}, {Of: processor.ReplyHead}, {Of: processor.ReplyHead, After: true}}
	saw := newTable("replies", "when the stream opens", "in place of the answer", "behind the answer")
	t.Run("faults", func(t *testing.T) {
		for i, at := range moments {
			t.Run(saw.columns[i], func(t *testing.T) {
				t.Parallel()
				r := newParts(t)
				r.judge = processor.Start(t)
				r.judge.Play(processor.Honest(allow))
				r.startApart(bootstrap.Config{ByExtProc: true, ChecksReplies: true})
				r.processor.Play(processor.Honest(takeOut))
				if o := r.callAt("echo", plain); o.body != "ok" || o.header.Get(echoHead) != "" {
					t.Fatalf("where nothing is spoiled: %+v", o)
				}
				try := func(t *testing.T, fault string, as expected) {
					o := r.callAt("echo", plain)
					r.mustBeJudged(t, o, true)
					if o.took > timeout+slack {
						t.Errorf("it took %v", o.took)
					}
					var cell string
					switch {
					case o.header.Get(echoHead) != "":
						cell = asIs
						if !slices.Contains(consents, fault) {
							t.Errorf("a head that was not checked reaches the agent: %v", o.header)
						}
					case o.body == "ok":
						cell = checked
					case strings.HasPrefix(fault, "CONTINUE_AND_REPLACE") && o.body == "another body":
						cell = inPlace
					case fault == "a header without a name is set" && o.status == 0:
						cell = garbled
					case as.spoken:
						cell = inPlace
					case as.silent:
						mustSayWhy(t, o)
						cell = timedOut
					default:
						mustSayWhy(t, o)
						cell = refused
					}
					saw.set(fault, saw.columns[i], cell)
				}
				eachFault(t, r, takeOut, at, try)
				if at.Of == processor.Opening {
					eachConnection(t, r, try)
				}
			})
		}
	})
	if !t.Failed() {
		saw.mustBeDocumented(t)
	}
}
