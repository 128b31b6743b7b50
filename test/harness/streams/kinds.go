package streams

import (
	"context"
	"crypto/rand"
	"time"
)

// The apps that a caller asks for, by their hosts: what they say of HTTP is how
// Envoy speaks to the API.
const (
	HostHTTP1 = "one.example"
	HostHTTP2 = "two.example"
)

// idHeader is that of ?id= where there is no query.
const idHeader = "x-stream-id"

// A Kind is one kind of long exchange.
type Kind struct {
	Name  string
	HTTP2 bool   // between client and Envoy
	Host  string // between Envoy and API
	Path  string
	Query string
	open  func(ctx context.Context, k Kind, a *API, c Caller, id string) (*Stream, error)
	// GRPC kinds lead to an app only: no client of gRPC puts a prefix before a path.
	GRPC bool
	// Late says that no answer has begun: an end of Envoy's can be an answer.
	Late bool
}

// Kinds are all of them.
func Kinds() []Kind {
	const long = "length=67108864"
	return []Kind{
		{Name: "events over HTTP/1", Host: HostHTTP1, Path: EventsPath, open: get},
		{Name: "events over HTTP/2", HTTP2: true, Host: HostHTTP2, Path: EventsPath, open: get},
		{Name: "WebSocket", Host: HostHTTP1, Path: SocketPath, open: socket},
		{Name: "gRPC replies", GRPC: true, HTTP2: true, Host: HostHTTP2, Path: CallPath + "StreamingOutputCall", open: call(false)},
		{Name: "gRPC both ways", GRPC: true, HTTP2: true, Host: HostHTTP2, Path: CallPath + "FullDuplexCall", open: call(true)},
		{Name: "upload over HTTP/1", Host: HostHTTP1, Path: UploadPath, open: post(false), Late: true},
		{Name: "upload over HTTP/1 with its length", Host: HostHTTP1, Path: UploadPath, open: post(true), Late: true},
		{Name: "upload over HTTP/2", HTTP2: true, Host: HostHTTP2, Path: UploadPath, open: post(false), Late: true},
		{Name: "upload over HTTP/2 with its length", HTTP2: true, Host: HostHTTP1, Path: UploadPath, open: post(true), Late: true},
		{Name: "download over HTTP/1", Host: HostHTTP1, Path: DownloadPath, open: get},
		{Name: "download over HTTP/1 with its length", Host: HostHTTP2, Path: DownloadPath, Query: long, open: get},
		{Name: "download over HTTP/2", HTTP2: true, Host: HostHTTP2, Path: DownloadPath, open: get},
		{Name: "download over HTTP/2 with its length", HTTP2: true, Host: HostHTTP1, Path: DownloadPath, Query: long, open: get},
		{Name: "long poll over HTTP/1", Host: HostHTTP1, Path: PollPath, open: poll, Late: true},
		{Name: "long poll over HTTP/2", HTTP2: true, Host: HostHTTP2, Path: PollPath, open: poll, Late: true},
	}
}

// Find returns the kind of this name, which there is.
func Find(name string) Kind {
	for _, k := range Kinds() {
		if k.Name == name {
			return k
		}
	}
	panic("streams: there is no kind " + name)
}

// Sends reports whether the client sends the body.
func (k Kind) Sends() bool { return k.Path == UploadPath || k.GRPC }

// patience bounds how long opening may take.
const patience = 30 * time.Second

// Open opens an exchange and returns when it is under way at both ends. An answer
// in place of it is a [*RefusedError].
func (k Kind) Open(ctx context.Context, a *API, c Caller) (*Stream, error) {
	return k.open(ctx, k, a, c, rand.Text())
}
