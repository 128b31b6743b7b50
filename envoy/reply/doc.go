// Package reply is the role of athd that reads the heads of APIs' replies to agents:
// an echo of the user's token is taken out of them, cookies are, and links to the API
// lead through Envoy where a provider has that ([provider.Provider].RewriteLinks).
//
// [Role] hears of replies by package envoy/exchange. What it cannot check is an error,
// by which Envoy refuses the reply: it fails closed.
package reply
