// Package httpapi is what the handshake and the operator's API have in common
// as HTTP: [JSON] turns a step into a handler that reads the body, puts the
// event on record and maps errors to answers by one table, [Server.Serve] lets
// a request in by rates, body and places, [Turns] keep the processor free for
// decisions, [Registrations] changes what is registered.
//
// Steps touch no HTTP: they get a [Call], and a request of package api.
package httpapi
