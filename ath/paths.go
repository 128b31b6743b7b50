package ath

import (
	"regexp"
	"slices"
	"strings"
)

// PathRoot is the path that athd keeps for itself on every host: no app has a
// path at or below it.
const PathRoot = "/ath"

// DiscoveryRoot is how the paths of discovery begin.
const DiscoveryRoot = "/.well-known/ath"

// The paths that athd answers. [Paths] says of each who asks there.
const (
	DiscoveryPath    = DiscoveryRoot + ".json"
	AppDiscoveryPath = DiscoveryRoot + "-app.json"

	AgentsPath    = PathRoot + "/agents/" // and a client_id
	RegisterPath  = AgentsPath + "register"
	AuthorizePath = PathRoot + "/authorize"
	TokenPath     = PathRoot + "/token"
	RevokePath    = PathRoot + "/revoke"

	CallbackPath      = PathRoot + "/callback"
	ConsentStartPath  = PathRoot + "/consent/start"
	ConsentDecidePath = PathRoot + "/consent/decide"
	ConsentDonePath   = PathRoot + "/consent/done"
	HealPath          = PathRoot + "/heal/" // and a sealed handle

	AdminPath          = PathRoot + "/admin/"
	AdminAgentsPath    = AdminPath + "agents"
	AdminHostsPath     = AdminPath + "hosts"
	AdminProvidersPath = AdminPath + "providers"
	AdminExplainPath   = AdminPath + "explain"
	AdminRefusalsPath  = AdminPath + "refusals"
	AdminStreamsPath   = AdminPath + "streams"
	AdminWhoAmIPath    = AdminPath + "whoami"

	AdminConnectionsPath = AdminPath + "connections"
	AdminUserEndPath     = AdminPath + "users/end"

	HealthPath      = "/health"
	DrainHealthPath = PathRoot + "/health"
)

// ProxyPath is where gateway mode begins: /ath/proxy/{provider_id}/{path}. What
// is below it is checked and goes to a provider; athd answers nothing there.
const ProxyPath = PathRoot + "/proxy/"

// A PathKind says who asks at a path, and for what.
type PathKind int

// The kinds of paths. The zero value is none.
const (
	PathDiscovery PathKind = iota + 1 // anyone: what there is
	PathHandshake                     // agents: they prove who they are, and send no cookie
	PathConsent                       // users' browsers: the pages on which they consent
	PathCallback                      // users' browsers, sent by an OAuth server
	PathAdmin                         // operators, with an admin token
	PathHealth                        // anyone: the process lives (D-4). An app that owns "/" has it instead
	PathDrain                         // Envoy's health checks only, past its routes: 503 while athd drains
)

// PathOrigins says on which origins a path is answered, where the consent
// pages have one of their own (Z-3). The zero value is none.
type PathOrigins int

// The origins.
const (
	OnPublic  PathOrigins = 1 << iota // public_url and the audiences of apps
	OnConsent                         // consent_url
)

// A Path is one row of the table of what athd answers.
type Path struct {
	// Path is compared byte for byte. With a slash at its end it stands for
	// every path below it, else for itself alone.
	Path string
	// PerProvider: also with a provider's id as one more segment.
	PerProvider bool
	Kind        PathKind
	On          PathOrigins
}

// paths is the table. Everything that must know a path follows from its row:
// the origins and limits of the companion, what passes unchecked in meshes,
// Envoy's routes, and what is verified of them.
var paths = []Path{
	{Path: DiscoveryPath, Kind: PathDiscovery, On: OnPublic},
	{Path: AppDiscoveryPath, Kind: PathDiscovery, On: OnPublic},
	{Path: AuthorizePath, Kind: PathHandshake, On: OnPublic},
	{Path: CallbackPath, PerProvider: true, Kind: PathCallback, On: OnPublic | OnConsent},
	{Path: TokenPath, Kind: PathHandshake, On: OnPublic},
	{Path: RevokePath, Kind: PathHandshake, On: OnPublic},
	{Path: AgentsPath, Kind: PathHandshake, On: OnPublic},
	{Path: RegisterPath, Kind: PathHandshake, On: OnPublic},
	{Path: AdminPath, Kind: PathAdmin, On: OnPublic},
	{Path: ConsentStartPath, Kind: PathConsent, On: OnConsent},
	{Path: ConsentDecidePath, Kind: PathConsent, On: OnConsent},
	{Path: ConsentDonePath, Kind: PathConsent, On: OnConsent},
	{Path: HealPath, Kind: PathConsent, On: OnConsent},
	{Path: HealthPath, Kind: PathHealth, On: OnPublic},
	{Path: DrainHealthPath, Kind: PathDrain},
}

// Paths returns the table of the paths that athd answers.
func Paths() []Path { return slices.Clone(paths) }

// FindPath returns the row of a path; ok is false if athd answers nothing
// there. A whole path comes before what it is below of.
func FindPath(path string) (row Path, ok bool) {
	for i := range paths {
		if paths[i].Match(path) {
			if !paths[i].Below() {
				return paths[i], true
			}
			row, ok = paths[i], true
		}
	}
	return row, ok
}

// Companion reports whether Envoy leads the path to athd without a check:
// there is no token in such a request, and the companion defends itself.
func (p Path) Companion() bool { return p.Kind != 0 && p.Kind != PathHealth && p.Kind != PathDrain }

// Browser reports whether users' browsers go there: who is refused sees a page.
func (p Path) Browser() bool { return p.Kind == PathConsent || p.Kind == PathCallback }

// Below reports whether the row stands for all that is below its path.
func (p Path) Below() bool { return strings.HasSuffix(p.Path, "/") }

// Match reports whether the row stands for a path, as it is written.
func (p Path) Match(path string) bool {
	rest, ok := strings.CutPrefix(path, p.Path)
	switch {
	case !ok || p.Path == "":
		return false
	case rest == "" || p.Below():
		return true
	}
	return p.PerProvider && len(rest) > 1 && rest[0] == '/' && strings.IndexByte(rest[1:], '/') < 0
}

// Sample returns a path that the row stands for. "…" in it stands for anything.
func (p Path) Sample() string {
	if p.Below() {
		return p.Path + "…"
	}
	return p.Path
}

// PathPattern returns a regular expression (RE2) that matches, as a whole, the
// paths of these rows and no others.
func PathPattern(rows []Path) string {
	var groups []pathGroup
	for _, p := range rows {
		// What is below another row needs no word of its own.
		if slices.ContainsFunc(rows, func(other Path) bool { return other.Path != p.Path && other.Match(p.Path) }) {
			continue
		}
		parent, name, tail := p.cut()
		i := slices.IndexFunc(groups, func(g pathGroup) bool { return g.parent == parent && g.tail == tail })
		if i < 0 {
			i, groups = len(groups), append(groups, pathGroup{parent: parent, tail: tail})
		}
		groups[i].names = append(groups[i].names, name)
	}
	var out []string
	for _, g := range groups {
		out = append(out, g.String())
	}
	return strings.Join(out, "|")
}

// A pathGroup is the part of a pattern for the paths in one directory.
type pathGroup struct {
	parent, tail string
	names        []string
}

func (g pathGroup) String() string {
	names := strings.Join(g.names, "|")
	if len(g.names) > 1 {
		names = "(" + names + ")"
	}
	return g.parent + names + g.tail
}

// cut returns a path's parts as patterns: its directory, its last segment, and
// what may be below.
func (p Path) cut() (parent, name, tail string) {
	path := p.Path
	if p.Below() {
		path, tail = strings.TrimSuffix(path, "/"), "/.*"
	}
	i := strings.LastIndexByte(path, '/') + 1
	parent, name = regexp.QuoteMeta(path[:i]), regexp.QuoteMeta(path[i:])
	if p.PerProvider {
		name += "(/[^/]+)?"
	}
	return parent, name, tail
}
