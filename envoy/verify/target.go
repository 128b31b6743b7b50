package verify

import (
	"slices"
	"strings"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	headersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/envoy"
	"github.com/athd/athd/provider"
)

// verifyTarget verifies one target to a provider: that it is checked and guarded
// for that provider, and leads where its token belongs.
func (c *chain) verifyTarget(w *target, guards []int, guarded bool) {
	if c.verifyPerRoute(w) {
		c.verifyProviderExtension(w)
		c.verifyMountExtension(w)
		if guarded {
			c.verifyGuarded(w, guards)
		}
	}
	c.verifyHeaders(w, strippedFor(c.provider(w)))
	c.verifyUpstream(w)
}

// verifyUpstream verifies where a target leads, checked or not.
func (c *chain) verifyUpstream(w *target) {
	p := c.provider(w)
	c.verifyAction(w)
	if p == nil {
		c.fault(w.where, "it leads to "+envoy.Quote(w.providers[0])+", a provider that athd does not know",
			"remove the route, or add the provider to athd's configuration")
		return
	}
	c.verifyPath(w, p)
	c.verifyHost(w, p)
	c.verifyCluster(w, p)
}

// verifyProviderExtension wants athd to be told the provider of the target.
func (c *chain) verifyProviderExtension(w *target) {
	told, there, readable := w.told(envoy.ExtProvider)
	if _, limited := w.extensions()[envoy.ExtStream]; there && !limited && !c.expect.ByHost {
		c.warning(w.where, "streams and WebSockets may outlive the agent's token: the route does not take their limit",
			"set "+c.toldBy(envoy.ExtStream)+" and the mutation of "+envoy.HeaderStreamEnvoy+", as athd bootstrap prints them")
	}
	mount := w.mountOf()
	switch {
	case !there && !c.expect.ByHost:
		c.fault(w.where, "it leads to a provider ("+strings.Join(w.providers, ", ")+") and does not tell athd which",
			"set "+c.toldBy(envoy.ExtProvider))
	case there && readable && mount != "" && c.idOf(told) != c.idOf(mount):
		c.fault(w.where, "its path is that of "+envoy.Quote(mount)+", but athd is told "+envoy.Quote(told), "set "+c.toldBy(envoy.ExtProvider)+" to the provider of the path")
	}
}

// verifyAssured wants what the guards behind the check admit to be nothing that athd did
// not allow. It returns what else they promise, and whether they hold.
func (c *chain) verifyAssured(w *target, guards []int, unheld Severity, remedy string) (got assurance, holds bool) {
	guards = slices.DeleteFunc(slices.Clone(guards), func(i int) bool { return i < c.checkAt })
	got = c.assured(guards, w)
	switch {
	case got.nothing:
		c.fault(w.where, "the guard refuses everything", remedy)
	case !got.allow && c.shadowed(guards, w):
		c.fault(w.where, "the guard is only tried (shadow rules): it refuses nothing", remedy)
	case !got.allow:
		c.say(unheld, w.where, "the guard is disabled, or does not want athd's yes", remedy)
	default:
		return got, true
	}
	return got, false
}

// verifyGuarded wants the guard to admit only what athd allowed for the provider
// of the target.
func (c *chain) verifyGuarded(w *target, guards []int) {
	const remedy = "let the rbac filter want ath_allow: true and provider of this route's provider"
	got, holds := c.verifyAssured(w, guards, c.ours(), remedy)
	switch {
	case !holds:
	case c.expect.ByHost && got.provider == "":
	case got.provider == "":
		c.fault(w.where, "the guard does not want the provider: athd's yes to another one opens this route", remedy)
	case !slices.Contains(w.providers, got.provider):
		c.fault(w.where, "the guard wants athd's yes to "+envoy.Quote(got.provider)+", another provider", remedy)
	}
}

// verifyMountExtension wants athd to cut off the mount that the route's rewrite cuts off.
func (c *chain) verifyMountExtension(w *target) {
	told, there, readable := w.told(envoy.ExtMount)
	switch id := w.mountOf(); {
	case id == "" && there:
		c.fault(w.where, "athd is told a mount, but the route has none", "remove "+c.toldBy(envoy.ExtMount))
	case id != "" && !there && !c.expect.ByHost:
		c.fault(w.where, "it does not tell athd its mount: athd judges another path than the API gets", "set "+c.toldBy(envoy.ExtMount)+" to "+envoy.Quote(ath.ProxyPath+id+"/"))
	case id != "" && there && readable && told != ath.ProxyPath+id+"/":
		c.fault(w.where, "athd is told the mount "+envoy.Quote(told)+", not "+envoy.Quote(ath.ProxyPath+id+"/")+": it judges another path than the API gets",
			"set "+c.toldBy(envoy.ExtMount)+" to the prefix of the provider")
	}
}

// strips says what an API must not see of a request.
type strips int

const (
	forUnknown strips = iota // whose API is not known
	forPeople                // an app, which may have people's cookies
	forAgents
)

func strippedFor(p *provider.Provider) strips {
	switch {
	case p == nil:
		return forUnknown
	case p.App != nil:
		return forPeople
	}
	return forAgents
}

// verifyHeaders looks at headers that are changed behind the check.
func (c *chain) verifyHeaders(w *target, api strips) {
	var add []*corev3.HeaderValueOption
	var drop []string
	for _, level := range []interface {
		GetRequestHeadersToAdd() []*corev3.HeaderValueOption
		GetRequestHeadersToRemove() []string
	}{w.part, w.route, w.host, w.config} {
		add, drop = append(add, level.GetRequestHeadersToAdd()...), append(drop, level.GetRequestHeadersToRemove()...)
	}
	for _, h := range add {
		if name := h.GetHeader().GetKey(); sensitiveHeader(name) {
			c.fault(w.where, "behind "+c.asks()+" it sets the header "+envoy.Quote(name), "leave it as athd set it")
		}
	}
	if slices.ContainsFunc(drop, func(name string) bool { return strings.EqualFold(name, envoy.HeaderAuthorization) }) {
		c.fault(w.where, "behind "+c.asks()+" it removes authorization, the user's token that athd put in", "remove other headers only")
	}
	var mutations []*mutationv3.HeaderMutation
	for i, f := range c.filters {
		var h headersv3.HeaderMutation
		if i < c.checkAt || !open(f.config, &h) {
			continue
		}
		if !f.runs(w) {
			if c.dropsTrailers(f) {
				c.say(c.ours(), w.where, "trailers of HTTP/2 requests reach the API: the filter that drops them is disabled", "remove what disables "+envoy.Quote(f.name))
			}
			continue
		}
		mutations = append(mutations, h.GetMutations().GetRequestMutations()...)
		for _, s := range w.settings(f.name) {
			var per headersv3.HeaderMutationPerRoute
			if s.config != nil && open(s.config, &per) {
				c.verifyRequestMutations(w.where, per.GetMutations())
				mutations = append(mutations, per.GetMutations().GetRequestMutations()...)
			}
		}
	}
	if c.expect.ByHost {
		return // where athd's reply removes them
	}
	lost := []string{"x-ath-agent-id"}
	if api == forAgents {
		lost = append(lost, envoy.HeaderCookie)
	}
	if api != forUnknown {
		for _, name := range identitySamples {
			if !c.replyRemoves(name) {
				lost = append(lost, name)
			}
		}
	}
	for _, name := range lost {
		if !slices.ContainsFunc(mutations, func(m *mutationv3.HeaderMutation) bool { return removes(m, name) }) &&
			!slices.ContainsFunc(drop, func(n string) bool { return strings.EqualFold(n, name) }) {
			remedy := "remove it by header_mutation, behind " + c.asks()
			if slices.Contains(identitySamples, name) {
				remedy = "take allowed_headers and decoder_header_mutation_rules from what athd bootstrap prints, so that athd's reply removes it, or " + remedy
			}
			c.warning(w.where, "the API sees "+envoy.Quote(name)+", which is none of its business", remedy)
		}
	}
}

// identitySamples stand for all headers that identify somebody, one for each
// beginning by which athd is told them.
var identitySamples = []string{"x-forwarded-user", "x-auth-request-user", "remote-user", "cf-access-user", "ssl-client-verify", "tailscale-user-login"}

// replyRemoves reports whether athd is told a header that identifies somebody,
// and may remove it.
func (c *chain) replyRemoves(name string) bool {
	rules := c.mutationRules()
	return c.told(name) && (rules == nil || mutable(rules, name))
}

// verifyAction looks for what sends a checked request to other places too, or
// once more.
func (c *chain) verifyAction(w *target) {
	a := w.route.GetRoute()
	if a == nil {
		c.fault(w.where, "its action cannot be verified", "forward requests to the provider's cluster")
		return
	}
	if len(a.GetRequestMirrorPolicies())+len(w.host.GetRequestMirrorPolicies())+len(w.config.GetRequestMirrorPolicies()) > 0 {
		c.fault(w.where, "requests are mirrored: the user's token goes to another place too", "remove request_mirror_policies")
	}
	if repeats(a.GetRetryPolicy()) || a.GetRetryPolicyTypedConfig() != nil || repeats(w.host.GetRetryPolicy()) || w.host.GetRetryPolicyTypedConfig() != nil {
		c.warning(w.where, "requests are retried: what an agent does may be done twice", "remove the retry policy")
	}
	if a.GetHedgePolicy() != nil || w.host.GetHedgePolicy() != nil {
		c.warning(w.where, "requests are hedged: what an agent does may be done twice", "remove the hedge policy")
	}
	if a.GetInternalRedirectPolicy() != nil || a.GetInternalRedirectAction() == routev3.RouteAction_HANDLE_INTERNAL_REDIRECT {
		c.fault(w.where, "Envoy follows redirects of the API itself, with the user's token", "remove the internal redirect policy")
	}
	if w.config.GetIgnorePathParametersInPathMatching() {
		c.warning(w.where, "routes are chosen without path parameters (;a=b), which the API sees", "remove ignore_path_parameters_in_path_matching")
	}
	for _, u := range a.GetUpgradeConfigs() {
		if strings.EqualFold(u.GetUpgradeType(), "CONNECT") {
			c.fault(w.where, "it opens tunnels (CONNECT), in which nothing is checked", "remove the upgrade")
		}
	}
}

// repeats reports whether a request that may have arrived is sent again.
func repeats(p *routev3.RetryPolicy) bool {
	if p == nil || p.GetRetryOn() == "" && p.GetNumRetries() == nil || repeatsMarked(p) {
		return false
	}
	for on := range strings.SplitSeq(p.GetRetryOn(), ",") {
		if !slices.Contains(strings.Split(envoy.RetryUnsent, ","), strings.TrimSpace(on)) {
			return true
		}
	}
	return false
}

// verifyPath wants what goes up to be the base path of the API and what was
// judged.
func (c *chain) verifyPath(w *target, p *provider.Provider) {
	a, match := w.route.GetRoute(), w.route.GetMatch()
	if cutsMount(w, p) {
		return
	}
	if a.GetRegexRewrite() != nil || a.GetPathRewritePolicy() != nil || a.GetPathRewrite() != "" {
		c.fault(w.where, "the path is rewritten by a pattern: what goes up is not what was judged", "use prefix_rewrite only")
		return
	}
	literal := w.literal()
	if literal == "" {
		if p.App == nil || a.GetPrefixRewrite() != "" || strings.Trim(envoy.Upstream(p).EscapedPath(), "/") != "" {
			c.fault(w.where, "it matches by a pattern, so that its rewrite cannot be verified", "match a prefix")
		}
		return
	}
	if !match.GetCaseSensitive().GetValue() && match.GetCaseSensitive() != nil {
		c.fault(w.where, "it matches without regard to case, which athd does not", "remove case_sensitive: false")
	}
	if match.GetPath() == "" && match.GetPathSeparatedPrefix() == "" && !strings.HasSuffix(literal, "/") {
		c.fault(w.where, "the prefix "+envoy.Quote(literal)+" also matches "+envoy.Quote(literal+"x"), "end the prefix with a slash")
		return
	}
	base := strings.TrimRight(envoy.Upstream(p).EscapedPath(), "/")
	rest := literal
	if mount := w.mountOf(); mount != "" {
		// Without a slash on both sides it is the same pair; a base at the root
		// has only its slash.
		if match.GetPathSeparatedPrefix() != "" && base == "" {
			c.fault(w.where, "the mount is matched without its slash, so that its rewrite makes other paths than were judged", "match the prefix "+envoy.Quote(ath.ProxyPath+mount+"/"))
			return
		}
		rest = strings.TrimPrefix(literal, ath.ProxyPath+mount)
	}
	want := base + rest
	if got := a.GetPrefixRewrite(); got != want && (got != "" || want != literal) {
		c.fault(w.where, "the prefix "+envoy.Quote(literal)+" is rewritten to "+envoy.Quote(got)+", not "+envoy.Quote(want)+": the API gets another path than was judged",
			"set prefix_rewrite: "+want)
	}
}

// cutsMount reports whether a pattern does no more than cut off a mount of an
// API at the root, as Envoy Gateway writes it: with all slashes behind the
// mount, of which athd lets pass one only.
func cutsMount(w *target, p *provider.Provider) bool {
	a, prefix := w.route.GetRoute(), w.route.GetMatch().GetPathSeparatedPrefix()
	cut := a.GetRegexRewrite()
	return cut != nil && a.GetPrefixRewrite() == "" && a.GetPathRewritePolicy() == nil && a.GetPathRewrite() == "" &&
		w.mountOf() != "" && prefix == ath.ProxyPath+w.mountOf() && strings.Trim(envoy.Upstream(p).EscapedPath(), "/") == "" &&
		cut.GetPattern().GetRegex() == "^"+prefix+`\/*` && cut.GetSubstitution() == "/" && w.route.GetMatch().GetCaseSensitive() == nil
}

// verifyHost wants the API to be called by its own name.
func (c *chain) verifyHost(w *target, p *provider.Provider) {
	target := envoy.Upstream(p)
	a := w.route.GetRoute()
	got := a.GetHostRewriteLiteral()
	if part := w.part.GetHostRewriteLiteral(); part != "" {
		got = part
	}
	native := w.mountOf() == "" && (p.App != nil || c.expect.ByHost)
	switch {
	case a.GetHostRewriteHeader() != "" || a.GetHostRewritePathRegex() != nil || a.GetHostRewrite() != "":
		c.fault(w.where, "the agent chooses the host by a header or the path", "set host_rewrite_literal to the API's host")
	case got != "" && !sameHost(got, target):
		c.fault(w.where, "the host is rewritten to "+envoy.Quote(got)+", not the API's, "+envoy.Quote(target.Host), "set host_rewrite_literal to the API's host")
	case got == "" && !native && !a.GetAutoHostRewrite().GetValue():
		c.fault(w.where, "the API is called by the gateway's host, not by its own, "+envoy.Quote(target.Host), "set host_rewrite_literal to the API's host")
	}
}
