package verify

import (
	"strings"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	inputsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/metadata/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/athd/athd/envoy"
)

// A call is an exchange that athd allowed, of which it has to hear more. Its reply
// is nil as long as there is none.
type call struct {
	what           string
	request, reply map[string]string
	upload         bool // it has to be heard of with the request's head
}

// holds evaluates a predicate, as far as it can be read.
func (s call) holds(p *xdsmatcherv3.Matcher_MatcherList_Predicate) answer {
	if p == nil {
		return yes
	}
	switch m := p.GetMatchType().(type) {
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_:
		return s.single(m.SinglePredicate)
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher:
		return yes - s.holds(m.NotMatcher)
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher:
		out := yes
		for _, p := range m.AndMatcher.GetPredicate() {
			out = min(out, s.holds(p))
		}
		return out
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_OrMatcher:
		out := no
		for _, p := range m.OrMatcher.GetPredicate() {
			out = max(out, s.holds(p))
		}
		return out
	}
	return maybe
}

// single evaluates a look at a header, or at what the decision said.
func (s call) single(p *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate) answer {
	input := p.GetInput().GetTypedConfig()
	var request matcherv3.HttpRequestHeaderMatchInput
	var reply matcherv3.HttpResponseHeaderMatchInput
	var metadata inputsv3.DynamicMetadataInput
	var value metadatav3.Metadata
	switch {
	case open(input, &request) && p.GetValueMatch() != nil:
		return answerOf(headerMatches(s.request, request.GetHeaderName(), p.GetValueMatch()))
	case open(input, &reply) && p.GetValueMatch() != nil && s.reply != nil:
		return answerOf(headerMatches(s.reply, reply.GetHeaderName(), p.GetValueMatch()))
	case open(input, &metadata) && open(p.GetCustomMatch().GetTypedConfig(), &value) && len(metadata.GetPath()) == 1 &&
		metadata.GetFilter() == envoy.MetaNamespace && metadata.GetPath()[0].GetKey() == envoy.MetaHeld && value.GetValue().GetPresentMatch():
		return answerOf(!value.GetInvert())
	}
	return maybe
}

func headerMatches(headers map[string]string, name string, m *xdsmatcherv3.StringMatcher) bool {
	value, there := headers[strings.ToLower(name)]
	if !there {
		return false
	}
	fold := func(s string) string {
		if m.GetIgnoreCase() {
			return strings.ToLower(s)
		}
		return s
	}
	switch p := m.GetMatchPattern().(type) {
	case *xdsmatcherv3.StringMatcher_Exact:
		return fold(value) == fold(p.Exact)
	case *xdsmatcherv3.StringMatcher_Prefix:
		return strings.HasPrefix(fold(value), fold(p.Prefix))
	case *xdsmatcherv3.StringMatcher_Suffix:
		return strings.HasSuffix(fold(value), fold(p.Suffix))
	case *xdsmatcherv3.StringMatcher_Contains:
		return strings.Contains(fold(value), fold(p.Contains))
	case *xdsmatcherv3.StringMatcher_SafeRegex:
		return regexMatches(&matcherv3.RegexMatcher{Regex: p.SafeRegex.GetRegex()}, value)
	}
	return false
}
