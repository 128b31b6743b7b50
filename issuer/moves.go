package issuer

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/athd/athd/provider/metadata"
)

// A Move is an endpoint that another host is to have.
type Move struct {
	Endpoint string // as in metadata
	From, To string // URLs; From is "" where there was none
}

// moved compares an issuer's metadata with what was accepted before. An endpoint
// may change its path, be gone, or come to the issuer's or the token endpoint's
// host, and no other.
func moved(before, now *metadata.Document) []Move {
	was := map[string]string{}
	for _, e := range before.Endpoints() {
		was[e.Name] = e.URL
	}
	var moves []Move
	for _, e := range now.Endpoints() {
		from, there := was[e.Name]
		if there && originOf(e.URL) == originOf(from) {
			continue
		}
		if o := originOf(e.URL); !there && (o == originOf(before.Issuer) || o == originOf(before.TokenEndpoint)) {
			continue
		}
		moves = append(moves, Move{e.Name, from, e.URL})
	}
	return moves
}

// elsewhere are the endpoints at other hosts than the issuer's.
func elsewhere(d *metadata.Document) string {
	var all []string
	for _, e := range d.Endpoints() {
		if originOf(e.URL) != originOf(d.Issuer) {
			all = append(all, e.Name)
		}
	}
	return strings.Join(all, " ")
}

func endpoints(d *metadata.Document) string {
	var all []string
	for _, e := range d.Endpoints() {
		all = append(all, e.URL)
	}
	return strings.Join(all, " ")
}

// originOf is scheme and host. What cannot be read is like nothing else, not even
// itself where it has changed.
func originOf(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return s
	}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return u.Scheme + "://" + host + ":" + port
}

// Describe says which endpoints go from where to where.
func Describe(moves []Move) string {
	var all []string
	for _, m := range moves {
		from := m.From
		if from == "" {
			from = "nowhere"
		}
		all = append(all, fmt.Sprintf("%s: from %s to %s", m.Endpoint, from, m.To))
	}
	return strings.Join(all, "; ")
}
