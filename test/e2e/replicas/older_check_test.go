//go:build older

package replicas

import (
	"context"
	"encoding/json"
	"net/http"
	"path/filepath"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// check asks one athd about a call, as Envoy does: at Envoy it would be either.
func (p *pair) check(i int, a *actor, token string) reply {
	p.t.Helper()
	conn, err := grpc.NewClient("unix:"+filepath.Join(p.Home[i], "authz.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(p.t.Context(), 5*time.Second)
	defer cancel()
	headers := &corev3.HeaderMap{}
	for name, value := range map[string]string{
		":authority": p.public[len("http://"):], ":path": "/api/products", ":method": "GET", ":scheme": "http",
		"authorization": "Bearer " + token, "x-ath-agent-id": a.ID(),
	} {
		headers.Headers = append(headers.Headers, &corev3.HeaderValue{Key: name, RawValue: []byte(value)})
	}
	r, err := authv3.NewAuthorizationClient(conn).Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Id: "1", Method: "GET", Path: "/api/products", Host: p.public[len("http://"):], Scheme: "http", Protocol: "HTTP/1.1", HeaderMap: headers,
		}},
		ContextExtensions: map[string]string{"ath_provider": "shop"},
	}})
	if err != nil {
		return reply{err: err}
	}
	if denied := r.GetDeniedResponse(); denied != nil {
		out := reply{status: int(denied.GetStatus().GetCode())}
		if json.Unmarshal([]byte(denied.GetBody()), &out.body) == nil {
			out.code = out.text("code")
		}
		return out
	}
	if r.GetOkResponse() == nil {
		return reply{}
	}
	out := reply{status: http.StatusOK, header: http.Header{}}
	for _, h := range r.GetOkResponse().GetHeaders() {
		out.header.Set(h.GetHeader().GetKey(), string(h.GetHeader().GetRawValue())+h.GetHeader().GetValue())
	}
	return out
}

// timesRevoked returns how often athd has revoked a token.
func (p *provider) timesRevoked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.revoked
}
