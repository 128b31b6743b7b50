// Package shop is the API of the demo: products, a cart, orders. It is an
// API as anybody might have it, and that is its point: it knows nothing of
// agents and nothing of ATH, and lets in who shows a token of its own OAuth
// server.
package shop
