package authz

// A Request is what Envoy asks about, as it arrived: nothing of it has been
// judged.
type Request struct {
	Method string // :method
	Path   string // :path, raw, with its query; "" is refused
	// Blurred says that any '!' in Path may stand for another byte, which is
	// forwarded as it is: where Envoy sends no raw headers it writes one for each
	// byte that is not UTF-8.
	Blurred bool
	Host    string // :authority, as Envoy routed by it
	Client  string // the address of the client, as Envoy sees it; recorded for refusals only

	// Provider is the id of the provider that the route leads to, said by
	// Envoy's configuration and never by the request; "" means that the route
	// names none (see [Config.ByHost]).
	Provider string
	// Mount is the path prefix under which the route mounts the provider's
	// API, with a slash at both ends ("/ath/proxy/github/"); "" means that the
	// path is the API's own (native mode). Also said by configuration only.
	Mount string

	// Runtime says that the route is that of run-time providers: it names neither a
	// provider nor a mount, and both follow from the path. Also said by configuration
	// only.
	Runtime bool

	Authorization []string // every value of the header, as it arrived
	AgentID       []string // every value of X-ATH-Agent-ID
	Cookies       []string // every value of Cookie, where Envoy was told to send it; only searched for a token
	Upgrade       []string // every value of Upgrade, where Envoy was told to send it
	StrayToken    bool     // another header, of those that Envoy sent, contains what looks like an ATH token
	ID            string   // the decision's id; "" makes Decide choose one
}
