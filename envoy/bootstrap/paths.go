package bootstrap

import (
	"slices"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/envoy"
)

// companionPattern matches what the companion answers on these origins, but for
// discovery. It is not checked: the companion defends itself, as it must, since
// Envoy's normalization makes its paths of others
// (/ath/proxy/p/../../admin/providers).
func companionPattern(on ath.PathOrigins) string {
	return ath.PathPattern(envoy.CompanionPaths(func(p ath.Path) bool { return p.Kind != ath.PathDiscovery && p.On&on != 0 }))
}

// discoveryPattern matches what only tells: what is asked there may be asked
// again.
func discoveryPattern() string {
	return ath.PathPattern(envoy.CompanionPaths(func(p ath.Path) bool { return p.Kind == ath.PathDiscovery }))
}

// crossOriginPattern matches those paths of the companion that read no cookie.
// The pages, callbacks and the operators' paths are for no script of another
// origin.
func crossOriginPattern() string {
	return ath.PathPattern(envoy.CompanionPaths(func(p ath.Path) bool { return p.Kind == ath.PathHandshake }))
}

// escapedPattern matches %2F and %5C below the companion's paths, which none of
// them holds. Envoy refuses it by itself, unless a provider needs it.
func escapedPattern() string {
	var below []ath.Path
	for _, p := range envoy.CompanionPaths(func(p ath.Path) bool { return p.Kind != ath.PathDiscovery }) {
		dir := p.Path[:strings.LastIndexByte(p.Path, '/')+1]
		if p.PerProvider {
			dir = p.Path + "/"
		}
		if known := func(q ath.Path) bool { return q.Path == dir }; dir != ath.PathRoot+"/" && !slices.ContainsFunc(below, known) {
			below = append(below, ath.Path{Path: dir})
		}
	}
	return ath.PathPattern(below) + "%(2[Ff]|5[Cc]).*"
}
