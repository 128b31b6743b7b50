package api

// A RuntimeRoute is what Envoy needs for providers that are added while athd runs:
// a route, and the addresses at which their APIs may be beside those of the Internet.
type RuntimeRoute struct {
	AllowPrivate bool              `json:"allow_private_hosts,omitempty"` // development
	AllowHTTP    bool              `json:"allow_http,omitempty"`          // development
	Allow        []EgressException `json:"egress_allow"`
	Own          []EgressListener  `json:"own_listeners"` // never connected to
}

// An EgressException is one of egress.allow.
type EgressException struct {
	Addresses string `json:"addresses"`      // with the length of their prefix
	Port      uint16 `json:"port,omitempty"` // 0: every port
	HTTP      bool   `json:"http,omitempty"` // without TLS, too
}

// An EgressListener is one of athd's or Envoy's own. Without an address it is at all
// that are not public.
type EgressListener struct {
	Address string `json:"address,omitempty"`
	Port    uint16 `json:"port"`
	Public  bool   `json:"public,omitempty"` // Envoy's, for agents
}
