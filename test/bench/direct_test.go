package bench

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// check is the message that Envoy would send for a call, where nothing limits
// which headers it tells (allowed_headers): all 14, and four of HTTP/2.
func (c call) check(t testing.TB) []byte {
	t.Helper()
	headers := &corev3.HeaderMap{}
	for _, h := range [][2]string{
		{":authority", "127.0.0.1:8080"}, {":path", "/ath/proxy/shop/api/products/7?page=2"}, {":method", "GET"}, {":scheme", "http"},
		{"authorization", "Bearer " + c.token}, {"x-ath-agent-id", c.agent},
		{"user-agent", "shopping-agent/2.1 (linux; x86_64)"}, {"accept", "application/json"},
		{"accept-encoding", "gzip, deflate, br"}, {"accept-language", "en-US,en;q=0.9"},
		{"cache-control", "no-cache"}, {"pragma", "no-cache"}, {"sec-fetch-mode", "cors"}, {"sec-fetch-site", "cross-site"},
		{"origin", "https://agents.example"}, {"referer", "https://agents.example/run/7f3a"},
		{"traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}, {"x-forwarded-proto", "http"},
	} {
		headers.Headers = append(headers.Headers, &corev3.HeaderValue{Key: h[0], RawValue: []byte(h[1])})
	}
	peer := func(port uint32) *authv3.AttributeContext_Peer {
		return &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
		}}}}
	}
	message, err := proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: peer(51234), Destination: peer(8080),
		Request: &authv3.AttributeContext_Request{
			Time: timestamppb.New(time.Unix(1_780_000_000, 0)),
			Http: &authv3.AttributeContext_HttpRequest{
				Id: "13359530607844510314", Method: "GET", Path: "/ath/proxy/shop/api/products/7?page=2",
				Host: "127.0.0.1:8080", Scheme: "http", Protocol: "HTTP/1.1", HeaderMap: headers,
			},
		},
		ContextExtensions: map[string]string{"ath_provider": "shop", "ath_mount": "/ath/proxy/shop/"},
		MetadataContext:   &corev3.Metadata{}, RouteMetadataContext: &corev3.Metadata{},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return message
}

// bytesCodec sends and receives messages as they are, so that the caller costs
// little of the machine.
type bytesCodec struct{}

func (bytesCodec) Name() string { return "proto" }

func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// ask calls Check with a message and returns the reply's bytes.
func ask(conn *grpc.ClientConn, message []byte) (reply []byte, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err = conn.Invoke(ctx, authv3.Authorization_Check_FullMethodName, message, &reply)
	return reply, err
}

func dialCheck(t testing.TB, socket string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(bytesCodec{})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// direct returns clients that ask without an Envoy, as many as there would be
// connections, through one connection as Envoy's worker has it.
func direct(t testing.TB, socket string, messages [][]byte) []client {
	t.Helper()
	conn := dialCheck(t, socket)
	clients := make([]client, connections)
	for i := range clients {
		next := i
		clients[i] = func() error {
			reply, err := ask(conn, messages[next%len(messages)])
			next += connections
			if err == nil && len(reply) == 0 {
				return fmt.Errorf("an empty reply")
			}
			return err
		}
	}
	return clients
}
