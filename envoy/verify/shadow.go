package verify

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// Shadows reports whether a route takes every request that a later one of the
// same virtual host could take, as far as their matches can tell: Envoy takes the
// first route that matches.
func Shadows(first, later *routev3.RouteMatch) bool {
	if !onlyByPath(first) || first.GetCaseSensitive() != nil && !first.GetCaseSensitive().GetValue() {
		return false
	}
	if later.GetCaseSensitive() != nil && !later.GetCaseSensitive().GetValue() && first.GetPrefix() != "/" {
		return false
	}
	var begin string // of all paths that the later one takes
	whole := false   // that is its only path
	switch p := later.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		begin = p.Prefix
	case *routev3.RouteMatch_PathSeparatedPrefix:
		begin = p.PathSeparatedPrefix
	case *routev3.RouteMatch_Path:
		begin, whole = p.Path, true
	default: // a pattern takes "*" too, which begins with no slash
		return false
	}
	switch p := first.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		return strings.HasPrefix(begin, p.Prefix)
	case *routev3.RouteMatch_PathSeparatedPrefix:
		segments := whole || later.GetPathSeparatedPrefix() != ""
		return strings.HasPrefix(begin, p.PathSeparatedPrefix+"/") || segments && begin == p.PathSeparatedPrefix
	case *routev3.RouteMatch_Path:
		return whole && begin == p.Path
	}
	return false
}
