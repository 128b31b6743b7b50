package verify

import (
	"slices"
	"strings"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"

	"github.com/athd/athd/envoy"
)

// Words for the two filters by which Envoy may ask for a decision.
const (
	byExtAuthz = "ext_authz"
	byExtProc  = "ext_proc"
)

// asks names the filter that is looked at now.
func (c *chain) asks() string {
	if c.judge != nil || c.check == nil && c.expect.ByExtProc {
		return byExtProc
	}
	return byExtAuthz
}

// wanted names the filter that athd expects.
func (v *verifier) wanted() string {
	if v.expect.ByExtProc {
		return byExtProc
	}
	return byExtAuthz
}

// verifyWanted compares the filter that asks with the one that athd's configuration
// names. athd answers both.
func (c *chain) verifyWanted(where string) {
	if is, want := c.asks(), c.wanted(); is != want {
		c.warning(where, "it asks by "+is+", where athd's configuration says "+want+" (envoy.filter)",
			"generate Envoy's configuration again, or set envoy.filter: "+is+" in athd.yaml")
	}
}

// kindsOfChecks names what filters ask, where there are several.
func (c *chain) kindsOfChecks() string {
	var kinds []string
	for _, i := range c.checks {
		kind := byExtAuthz
		if c.judges(c.filters[i]) {
			kind = byExtProc
		}
		if !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return strings.Join(kinds, " and ")
}

// service is how the filter that is looked at now asks.
func (c *chain) service() *corev3.GrpcService {
	if c.judge != nil {
		return c.judge.GetGrpcService()
	}
	return c.check.GetGrpcService()
}

// mutationRules say what an answer to it may change.
func (c *chain) mutationRules() *mutationv3.HeaderMutationRules {
	if c.judge != nil {
		return c.judge.GetMutationRules()
	}
	return c.check.GetDecoderHeaderMutationRules()
}

// toldBy names what tells athd of a route.
func (c *chain) toldBy(extension string) string {
	if c.judge == nil {
		return "the context extension " + extension
	}
	for stream, told := range streamExtensions {
		if told == extension {
			return "grpc_initial_metadata " + stream
		}
	}
	return extension
}

// streamExtensions are what ext_proc tells by gRPC metadata, and what ext_authz calls
// the same.
var streamExtensions = map[string]string{
	envoy.StreamProvider: envoy.ExtProvider, envoy.StreamMount: envoy.ExtMount,
	envoy.StreamRuntime: envoy.ExtRuntime, envoy.StreamLimit: envoy.ExtStream,
}

// rolesOf returns what an ext_proc filter has athd do; nil if it does not say.
func rolesOf(p *extprocv3.ExternalProcessor) []string {
	for _, h := range p.GetGrpcService().GetInitialMetadata() {
		if strings.EqualFold(h.GetKey(), envoy.StreamRole) && h.GetValue() != "" {
			return strings.Split(strings.ReplaceAll(h.GetValue(), " ", ""), ",")
		}
	}
	return nil
}

// judges reports whether a filter asks for a decision by ext_proc. Where athd is to be
// asked by ext_proc, and no filter says that it does, one that says nothing does.
func (c *chain) judges(f filter) bool {
	var p extprocv3.ExternalProcessor
	return saysJudge(f) || c.expect.ByExtProc && open(f.config, &p) && rolesOf(&p) == nil && !slices.ContainsFunc(c.filters, saysJudge)
}

// saysJudge is for a filter that has the role, or, where it names none, athd's name or
// namespace.
func saysJudge(f filter) bool {
	var p extprocv3.ExternalProcessor
	if !open(f.config, &p) {
		return false
	}
	if f.name == envoy.JudgeFilter {
		return true
	}
	if roles := rolesOf(&p); roles != nil {
		return slices.Contains(roles, envoy.RoleJudge)
	}
	return receives(p.GetMetadataOptions())
}

// receives reports whether what an answer says is written down where the guard reads.
func receives(o *extprocv3.MetadataOptions) bool {
	return slices.Contains(o.GetReceivingNamespaces().GetUntyped(), envoy.MetaNamespace)
}

// streamMetadata is what ext_proc tells athd on a target, under the names of ext_authz.
func (w *target) streamMetadata() map[string]string {
	out, decided := map[string]string{}, map[string]bool{}
	for _, level := range w.levels() {
		for name, a := range level {
			var per extprocv3.ExtProcPerRoute
			if decided[name] || !open(unwrap(a).config, &per) {
				continue
			}
			decided[name] = true
			for _, h := range per.GetOverrides().GetGrpcInitialMetadata() {
				if told := streamExtensions[strings.ToLower(h.GetKey())]; told != "" {
					out[told] = h.GetValue()
				}
			}
		}
	}
	return out
}

// verifyUnguarded tells what only a guard would stop.
func (c *chain) verifyUnguarded() {
	what := "there is no guard behind ext_authz: a check that is skipped, or answered by something else, opens the API"
	severity := c.ours()
	if c.judge != nil {
		// Not even a mesh may do without: Envoy itself goes on then.
		severity = Fault
		what = "there is no guard behind ext_proc: a stream that ends cleanly, or an answer that says nothing, opens the API"
	}
	c.say(severity, c.where, what, "put an rbac filter behind "+c.asks()+" that wants ath_allow: true of its dynamic metadata")
}
