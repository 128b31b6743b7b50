// Package differential sends hostile requests through real Envoys, over
// HTTP/1.1 and HTTP/2, and holds what arrives at an API against what athd
// judged: whatever reaches an API is byte for byte what was judged, its mount
// replaced by the API's base path, with the user's credential and nothing of
// the agent's. No request is seen that athd did not judge (request smuggling). A
// table of known attacks prints what became of each; a fuzz
// target looks for the unknown ones.
//
//	                  ┌▶ generated, %2F refused ──┐
//	client: raw bytes ┼▶ generated, %2F kept    ──┼▶ APIs that record raw request lines
//	                  ├▶ Istio's filter block   ──┤
//	                  ├▶ run-time providers     ──┤
//	                  └▶ ext_proc, watched      ──┘
//	                       │ each asks an athd that records what it judged
package differential
