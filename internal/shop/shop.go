package shop

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Scopes that the shop's routes want.
const (
	ScopeProductsRead = "products:read"
	ScopeCartWrite    = "cart:write"
	ScopeOrdersRead   = "orders:read"
	ScopeOrdersWrite  = "orders:write"
)

const (
	maxBody     = 4 << 10 // bytes
	maxQuantity = 100     // of one product in a cart
	maxOrders   = 1000    // of one user
)

// A Lookup says whose an access token is and what it may do; ok is false for
// a token that is unknown or over.
type Lookup func(token string) (user string, scopes []string, ok bool)

// A Product is something to buy.
type Product struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Cents int    `json:"price_cents"`
}

// A Line is a number of one product, in a cart or an order.
type Line struct {
	ProductID string `json:"product_id"`
	Quantity  int    `json:"quantity"`
}

// An Order is what a user has bought.
type Order struct {
	ID    string `json:"id"`
	Lines []Line `json:"lines"`
	Cents int    `json:"total_cents"`
}

// A Shop serves the API. It implements [http.Handler].
type Shop struct {
	lookup Lookup
	mux    *http.ServeMux

	mu     sync.Mutex
	carts  map[string]map[string]int // user → product → quantity
	orders map[string][]Order        // user → orders, oldest first
	seen   []Request
}

// New returns a shop with some products that lets in whom lookup knows.
func New(lookup Lookup) *Shop {
	s := &Shop{
		lookup: lookup,
		mux:    http.NewServeMux(),
		carts:  map[string]map[string]int{},
		orders: map[string][]Order{},
	}
	s.handle("GET /api/products", ScopeProductsRead, s.listProducts)
	s.handle("GET /api/products/{id}", ScopeProductsRead, s.getProduct)
	s.handle("GET /api/products/events", ScopeProductsRead, s.streamEvents)
	s.handle("POST /api/cart/add", ScopeCartWrite, s.addToCart)
	s.handle("GET /api/cart", ScopeCartWrite, s.getCart)
	s.handle("POST /api/orders", ScopeOrdersWrite, s.placeOrder)
	s.handle("GET /api/orders", ScopeOrdersRead, s.listOrders)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, http.StatusNotFound, "not_found", "there is nothing here")
	})
	return s
}

// ServeHTTP implements [http.Handler].
func (s *Shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.record(r)
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	s.mux.ServeHTTP(w, r)
}

// handle registers a route for users whose token holds the scope.
func (s *Shop) handle(pattern, scope string, serve func(w http.ResponseWriter, r *http.Request, user string)) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		token, sent := bearer(r)
		if !sent {
			w.Header().Set("WWW-Authenticate", `Bearer realm="shop"`)
			writeError(w, http.StatusUnauthorized, "unauthorized", "log in first")
			return
		}
		user, scopes, ok := s.lookup(token)
		if !ok {
			w.Header().Set("WWW-Authenticate", `Bearer realm="shop", error="invalid_token"`)
			writeError(w, http.StatusUnauthorized, "invalid_token", "the shop does not know this token")
			return
		}
		if !slices.Contains(scopes, scope) {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="shop", error="insufficient_scope", scope=%q`, scope))
			writeError(w, http.StatusForbidden, "insufficient_scope", "this needs the scope "+scope)
			return
		}
		serve(w, r, user)
	})
}

// bearer returns the request's token. Of several Authorization headers it
// takes none.
func bearer(r *http.Request) (string, bool) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	return token, ok && strings.EqualFold(scheme, "Bearer") && token != ""
}

func products() []Product {
	return []Product{
		{ID: "mug", Name: "Coffee mug", Cents: 1200},
		{ID: "tea", Name: "Green tea, 100 g", Cents: 850},
		{ID: "pot", Name: "Teapot", Cents: 3900},
	}
}

func product(id string) (Product, bool) {
	all := products()
	i := slices.IndexFunc(all, func(p Product) bool { return p.ID == id })
	if i < 0 {
		return Product{}, false
	}
	return all[i], true
}

func (s *Shop) listProducts(w http.ResponseWriter, _ *http.Request, _ string) {
	writeJSON(w, http.StatusOK, map[string]any{"products": products()})
}

func (s *Shop) getProduct(w http.ResponseWriter, r *http.Request, _ string) {
	p, ok := product(r.PathValue("id"))
	if !ok {
		writeError(w, http.StatusNotFound, "not_found", "no such product")
		return
	}
	writeJSON(w, http.StatusOK, p)
}

func (s *Shop) addToCart(w http.ResponseWriter, r *http.Request, user string) {
	var line Line
	if err := json.NewDecoder(r.Body).Decode(&line); err != nil {
		writeError(w, http.StatusBadRequest, "bad_request", "the body is not a product_id and a quantity")
		return
	}
	if _, ok := product(line.ProductID); !ok {
		writeError(w, http.StatusBadRequest, "bad_request", "no such product")
		return
	}
	line.Quantity = cmp.Or(line.Quantity, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	cart := s.carts[user]
	if line.Quantity < 0 || cart[line.ProductID]+line.Quantity > maxQuantity {
		writeError(w, http.StatusBadRequest, "bad_request", fmt.Sprintf("a cart holds 1 to %d of a product", maxQuantity))
		return
	}
	if cart == nil {
		cart = map[string]int{}
		s.carts[user] = cart
	}
	cart[line.ProductID] += line.Quantity
	writeJSON(w, http.StatusOK, map[string]any{"cart": lines(cart)})
}

func (s *Shop) getCart(w http.ResponseWriter, _ *http.Request, user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	writeJSON(w, http.StatusOK, map[string]any{"cart": lines(s.carts[user])})
}

// placeOrder buys what is in the cart and empties it.
func (s *Shop) placeOrder(w http.ResponseWriter, _ *http.Request, user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cart := lines(s.carts[user])
	switch {
	case len(cart) == 0:
		writeError(w, http.StatusConflict, "conflict", "the cart is empty")
		return
	case len(s.orders[user]) >= maxOrders:
		writeError(w, http.StatusConflict, "conflict", "too many orders")
		return
	}
	order := Order{ID: fmt.Sprintf("order-%d", len(s.orders[user])+1), Lines: cart}
	for _, line := range cart {
		p, _ := product(line.ProductID) // it is in the cart, so it is there
		order.Cents += p.Cents * line.Quantity
	}
	s.orders[user] = append(s.orders[user], order)
	delete(s.carts, user)
	writeJSON(w, http.StatusCreated, order)
}

func (s *Shop) listOrders(w http.ResponseWriter, _ *http.Request, user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	writeJSON(w, http.StatusOK, map[string]any{"orders": append([]Order{}, s.orders[user]...)})
}

func lines(cart map[string]int) []Line {
	all := []Line{}
	for _, id := range slices.Sorted(maps.Keys(cart)) {
		all = append(all, Line{ProductID: id, Quantity: cart[id]})
	}
	return all
}
