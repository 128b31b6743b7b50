// Package transcript prints what happens on the wire, step by step: one line a
// step, or requests and replies with their secrets shortened, and what was
// expected of them with whether it was met. The demo and athctl try run print
// what they do with it.
//
//	out := &transcript.Transcript{W: os.Stdout}
//	out.Step("Discover: the agent asks what there is")
//	out.Exchange(exchange)
//	out.Check(exchange.Status == 200, "it answers", exchange.Status)
//	out.End(true)
package transcript
