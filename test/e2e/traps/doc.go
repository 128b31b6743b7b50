// Package traps holds tests of what the generated configuration relies on
// in a real Envoy: each names a way in which a request could pass unchecked,
// or reach an API otherwise than it was judged. When a new Envoy changes one
// of these, a test here says so.
package traps
