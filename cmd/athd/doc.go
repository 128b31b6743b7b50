// Command athd is the sidecar for Envoy: it answers Envoy's checks over gRPC
// and serves the companion, by which agents get their tokens, over HTTP.
//
//	athd serve     --config athd.yaml           run
//	athd validate  --config athd.yaml           check the configuration
//	athd bootstrap --config athd.yaml   print Envoy's configuration
//	athd bootstrap --into envoy.yaml           put athd's parts into an Envoy configuration that is there
//	athd keys new  -o keyset.json              make the keys that seal the store
//	athd health                                ask a running athd whether it is ready
//	athd wait      --config athd.yaml           wait until athd and Envoy answer
//	athd version
//
// This package is the only one that knows flags, environment and files. What
// a configuration says is parsed once, by load, into settings that every
// command can trust: no command starts on a configuration with a fault.
package main
