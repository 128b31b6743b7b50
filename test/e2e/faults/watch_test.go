package faults

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/metadata"

	"github.com/athd/athd/envoy"
	"github.com/athd/athd/envoy/bootstrap"
	"github.com/athd/athd/test/harness/processor"
)

// What becomes of an exchange under watch.
const (
	lives    = "goes on"
	ends     = "ends"
	livesOn1 = "goes on after 1 s"
)

// newWatchedRig is a rig whose decisions are made, and whose watch is spoiled.
func newWatchedRig(t *testing.T, keep bool) *rig {
	t.Helper()
	r := newParts(t)
	r.judge = processor.Start(t)
	r.judge.Play(processor.Honest(allow))
	r.startApart(bootstrap.Config{ByExtProc: true, WatchesStreams: true, KeepsStreams: keep})
	return r
}

// startApart starts an Envoy that asks another processor than the judge about what
// comes behind a decision.
func (r *rig) startApart(c bootstrap.Config) {
	r.t.Helper()
	r.start(c, func(b *bootstrapv3.Bootstrap) {
		host, port, err := net.SplitHostPort(r.processor.Addr)
		if err != nil {
			r.t.Fatal(err)
		}
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, c := range b.StaticResources.Clusters {
			if c.Name == envoy.StreamsCluster {
				c.LoadAssignment.Endpoints[0].LbEndpoints[0].GetEndpoint().Address = &corev3.Address{Address: &corev3.Address_SocketAddress{
					SocketAddress: &corev3.SocketAddress{Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(number)}},
				}}
			}
		}
	})
}

// goOn is what a watch answers while all is well.
func goOn(_ metadata.MD, q *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
	heads := &extprocv3.HeadersResponse{Response: &extprocv3.CommonResponse{}}
	switch processor.PartOf(q) {
	case processor.RequestHead:
		return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: heads}}
	case processor.ReplyHead:
		return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: heads}}
	case processor.ReplyTrailers:
		return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extprocv3.TrailersResponse{}}}
	}
	return &extprocv3.ProcessingResponse{}
}

// long makes a long exchange: an upload, whose reply is short, or a call whose reply
// has no length. The API finishes when the exchange was given some time to end before.
func (r *rig) long(t *testing.T, path string, patience time.Duration) (o outcome, whole bool) {
	t.Helper()
	r.calls++
	id := strconv.Itoa(r.calls)
	release := r.api.hold()
	defer release()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	method, body := "GET", io.Reader(nil)
	if path == "held" {
		method, body = "POST", io.LimitReader(zeros{}, 256<<10)
	}
	q, err := http.NewRequestWithContext(ctx, method, "http://"+r.envoy.Addr("public")+"/ath/proxy/plain/"+path+"?call="+id, body)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Authorization", "Bearer "+r.token)
	q.Header.Set("X-ATH-Agent-ID", agentID)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	began, over := time.Now(), make(chan struct{})
	go func() {
		defer close(over)
		response, err := client.Do(q)
		if err != nil {
			return
		}
		defer response.Body.Close()
		o.status, o.header = response.StatusCode, response.Header
		in := bufio.NewReader(response.Body)
		text, err := io.ReadAll(in)
		o.body = string(text)
		whole = err == nil && (o.body == "ok" || o.body == "first\nlast\n")
	}()
	select {
	case <-over:
	case <-time.After(patience):
		release()
	}
	<-over
	o.took = time.Since(began)
	// What an exchange that was ended had sent may arrive while the next one goes on.
	o.seen = slices.DeleteFunc(r.api.take(), func(s seen) bool { return !strings.HasSuffix(s.target, "?call="+id) })
	return o, whole
}

// However the stream of a watch ends or is spoiled: it lets nothing through that was
// not judged, nothing waits longer for it than its time-out, and whether the exchange
// goes on is as streams_on_loss says.
// proves: V-4
func TestNoSpoiledWatchOpensAnAPI(t *testing.T) {
	moments := []struct {
		name, path string
		at         processor.Moment
	}{
		{"at the request, in place of the answer", "held", processor.Moment{Of: processor.RequestHead}},
		{"behind the answer", "held", processor.Moment{Of: processor.RequestHead, After: true}},
		{"at the reply, in place of the answer", "flow", processor.Moment{Of: processor.ReplyHead}},
		{"while the reply goes on", "flow", processor.Moment{Of: processor.ReplyHead, After: true}},
	}
	var columns []string
	for _, loss := range []string{"end", "keep"} {
		for _, m := range moments {
			columns = append(columns, loss+": "+m.name)
		}
	}
	saw := newTable("watch", columns...)
	t.Run("faults", func(t *testing.T) {
		for _, loss := range []string{"end", "keep"} {
			t.Run(loss, func(t *testing.T) {
				t.Parallel()
				r := newWatchedRig(t, loss == "keep")
				r.processor.Play(processor.Honest(goOn))
				for _, path := range []string{"held", "flow"} {
					if o, whole := r.long(t, path, 20*time.Millisecond); !whole || r.processor.Streams() == 0 {
						t.Fatalf("%s: where nothing is spoiled: %+v", path, o)
					}
				}
				for i, m := range moments {
					t.Run(m.name, func(t *testing.T) {
						try := func(t *testing.T, fault string, as expected) {
							r.mustEndAsItMust(t, saw, fault, loss+": "+m.name, m.path, m.at, as)
						}
						eachFault(t, r, goOn, m.at, try)
						if i == 0 {
							eachConnection(t, r, try)
						}
					})
				}
			})
		}
	})
	if !t.Failed() {
		saw.mustBeDocumented(t)
	}
}

// mustEndAsItMust makes a long exchange while its watch is spoiled, and says what
// became of it in the table's words.
func (r *rig) mustEndAsItMust(t *testing.T, saw *table, fault, column, path string, at processor.Moment, as expected) {
	t.Helper()
	// An end that is expected is waited for; without one the API goes on soon.
	patience := 30 * time.Millisecond
	if *update || saw.documented(t, fault, column) == ends {
		patience = timeout + slack
		if *update {
			patience = 200 * time.Millisecond
		}
	}
	o, whole := r.long(t, path, patience)
	r.mustBeJudged(t, o, true)
	if o.took > 2*(timeout+slack) {
		t.Errorf("it took %v", o.took)
	}
	cell := lives
	switch {
	case !whole:
		cell = ends
		if o.status >= 400 && !as.spoken && !as.right && o.status != 503 {
			t.Errorf("status %d: %s", o.status, o.body)
		}
	case as.silent && !at.After && o.took > timeout/2:
		cell = livesOn1
	}
	saw.set(fault, column, cell)
}
