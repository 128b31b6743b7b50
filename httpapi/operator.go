package httpapi

import (
	"net/http"
	"strings"
)

// Operator returns the name of the admin token that a request carries (V-2,
// O-1). Every token is compared, in constant time.
func (s *Server) Operator(h http.Header) (name string, ok bool) {
	given := h.Values("X-ATH-User-Token")
	if len(given) == 0 {
		for _, v := range h.Values("Authorization") {
			if scheme, value, found := strings.Cut(v, " "); found && strings.EqualFold(scheme, "Bearer") {
				given = append(given, value)
			}
		}
	}
	if len(given) != 1 {
		return "", false
	}
	for _, t := range s.AdminTokens {
		if t.Digest.Matches(given[0]) {
			name, ok = t.Name, true
		}
	}
	return name, ok
}
