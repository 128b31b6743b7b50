package shop_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/athd/athd/internal/shop"
)

// everything is what a token named "<user>:all" may do.
var everything = []string{shop.ScopeProductsRead, shop.ScopeCartWrite, shop.ScopeOrdersRead, shop.ScopeOrdersWrite}

// lookup knows tokens of the form "user/scope", and "user/all".
func lookup(token string) (string, []string, bool) {
	user, scope, ok := strings.Cut(token, "/")
	if scope == "all" {
		return user, everything, ok
	}
	return user, []string{scope}, ok
}

func newShop(t *testing.T) (*shop.Shop, func(method, path, authorization, body string) *http.Response) {
	t.Helper()
	s := shop.New(lookup)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, func(method, path, authorization, body string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
}

func read(t *testing.T, resp *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(body))
}

func TestEachRouteWantsItsScope(t *testing.T) {
	routes := []struct{ method, path, body, scope string }{
		{"GET", "/api/products", "", "products:read"},
		{"GET", "/api/products/mug", "", "products:read"},
		{"GET", "/api/products/events", "", "products:read"},
		{"POST", "/api/cart/add", `{"product_id":"mug","quantity":1}`, "cart:write"},
		{"GET", "/api/cart", "", "cart:write"},
		{"POST", "/api/orders", "", "orders:write"},
		{"GET", "/api/orders", "", "orders:read"},
	}
	for _, route := range routes {
		t.Run(route.method+" "+route.path, func(t *testing.T) {
			_, call := newShop(t)
			for _, scope := range append(slices.Clone(everything), "none") {
				resp := call(route.method, route.path, "Bearer alice/"+scope, route.body)
				allowed := resp.StatusCode != http.StatusForbidden
				if allowed != (scope == route.scope) {
					t.Errorf("with %s: %d", scope, resp.StatusCode)
				}
				challenge := resp.Header.Get("WWW-Authenticate")
				if !allowed && !strings.Contains(challenge, `error="insufficient_scope", scope="`+route.scope+`"`) {
					t.Errorf("WWW-Authenticate = %q", challenge)
				}
			}
		})
	}
}

func TestWithoutAGoodTokenNothingIsServed(t *testing.T) {
	tests := []struct{ name, authorization, challenge string }{
		{"none", "", `Bearer realm="shop"`},
		{"another scheme", "Basic YTpi", `Bearer realm="shop"`},
		{"no token", "Bearer ", `Bearer realm="shop"`},
		{"an unknown one", "Bearer guess", `Bearer realm="shop", error="invalid_token"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, call := newShop(t)
			resp := call("GET", "/api/products", test.authorization, "")
			if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WWW-Authenticate") != test.challenge {
				t.Errorf("%d, WWW-Authenticate %q", resp.StatusCode, resp.Header.Get("WWW-Authenticate"))
			}
			if body := read(t, resp); strings.Contains(body, "mug") {
				t.Errorf("body = %s", body)
			}
		})
	}
}

func TestShopSellsToSignedInUsers(t *testing.T) {
	_, call := newShop(t)
	steps := []struct {
		method, path, user, body string
		status                   int
		want                     string
	}{
		{"GET", "/api/products/tea", "alice", "", 200, `{"id":"tea","name":"Green tea, 100 g","price_cents":850}`},
		{"GET", "/api/products/car", "alice", "", 404, `{"error":"not_found","message":"no such product"}`},
		{"POST", "/api/orders", "alice", "", 409, `{"error":"conflict","message":"the cart is empty"}`},
		{"POST", "/api/cart/add", "alice", `{"product_id":"tea","quantity":2}`, 200, `{"cart":[{"product_id":"tea","quantity":2}]}`},
		{"POST", "/api/cart/add", "alice", `{"product_id":"mug"}`, 200, `{"cart":[{"product_id":"mug","quantity":1},{"product_id":"tea","quantity":2}]}`},
		{"POST", "/api/cart/add", "alice", `{"product_id":"mug","quantity":100}`, 400, `{"error":"bad_request","message":"a cart holds 1 to 100 of a product"}`},
		{"POST", "/api/cart/add", "alice", `{"product_id":"mug","quantity":-1}`, 400, `{"error":"bad_request","message":"a cart holds 1 to 100 of a product"}`},
		{"POST", "/api/cart/add", "alice", `{"product_id":"car"}`, 400, `{"error":"bad_request","message":"no such product"}`},
		{"POST", "/api/cart/add", "alice", `mug`, 400, `{"error":"bad_request","message":"the body is not a product_id and a quantity"}`},
		{"GET", "/api/cart", "bob", "", 200, `{"cart":[]}`},
		{"POST", "/api/orders", "alice", "", 201, `{"id":"order-1","lines":[{"product_id":"mug","quantity":1},{"product_id":"tea","quantity":2}],"total_cents":2900}`},
		{"GET", "/api/cart", "alice", "", 200, `{"cart":[]}`},
		{"GET", "/api/orders", "alice", "", 200, `{"orders":[{"id":"order-1","lines":[{"product_id":"mug","quantity":1},{"product_id":"tea","quantity":2}],"total_cents":2900}]}`},
		{"GET", "/api/orders", "bob", "", 200, `{"orders":[]}`},
		{"GET", "/admin", "alice", "", 404, `{"error":"not_found","message":"there is nothing here"}`},
	}
	for _, step := range steps {
		resp := call(step.method, step.path, "Bearer "+step.user+"/all", step.body)
		if body := read(t, resp); resp.StatusCode != step.status || body != step.want {
			t.Errorf("%s %s %s as %s = %d %s, want %d %s", step.method, step.path, step.body, step.user, resp.StatusCode, body, step.status, step.want)
		}
	}
}

func TestProductsAreListed(t *testing.T) {
	_, call := newShop(t)
	var list struct{ Products []shop.Product }
	if err := json.NewDecoder(call("GET", "/api/products", "Bearer alice/products:read", "").Body).Decode(&list); err != nil || len(list.Products) != 3 {
		t.Errorf("products = %v, %v", list, err)
	}
}

func TestEventsAreStreamed(t *testing.T) {
	_, call := newShop(t)
	resp := call("GET", "/api/products/events", "Bearer alice/products:read", "")
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatalf("Content-Type = %q", got)
	}
	var data []string
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			data = append(data, value)
		}
	}
	if want := []string{"mug", "tea", "pot"}; !slices.Equal(data, want) {
		t.Errorf("events = %v, want %v", data, want)
	}
}

func TestEventsAreFollowedUntilTheCallerLeaves(t *testing.T) {
	server := httptest.NewServer(shop.New(lookup))
	defer server.Close() // waits until nothing is served any more
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/api/products/events?follow", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer alice/products:read")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines, seen := bufio.NewScanner(resp.Body), 0
	for seen < 5 && lines.Scan() {
		if strings.HasPrefix(lines.Text(), "data: ") {
			seen++
		}
	}
	if seen < 5 {
		t.Errorf("the stream ended after %d events: %v", seen, lines.Err())
	}
	leave()
}

func TestSeenHoldsTheLastHundredAsTheyCame(t *testing.T) {
	s := shop.New(lookup)
	for i := range 105 {
		r := httptest.NewRequest("GET", fmt.Sprintf("/api/products?n=%d", i), nil)
		r.Header.Set("Authorization", "Bearer guess")
		r.Header.Set("X-ATH-Agent-ID", "https://agent.example")
		s.ServeHTTP(httptest.NewRecorder(), r)
	}
	seen := s.Seen()
	if len(seen) != 100 || seen[0].Target != "/api/products?n=5" || seen[99].Target != "/api/products?n=104" {
		t.Fatalf("%d seen, %+v … %+v", len(seen), seen[0], seen[len(seen)-1])
	}
	if last := seen[99]; last.Method != "GET" || last.Header.Get("Authorization") != "Bearer guess" || !slices.Equal(last.ATH(), []string{"X-Ath-Agent-Id"}) {
		t.Errorf("last = %+v", last)
	}
}
