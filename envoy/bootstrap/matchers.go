package bootstrap

import (
	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	inputsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/metadata/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/athd/athd/envoy"
)

// Envoy tells by an exchange's heads whether athd hears of it, and makes the filter
// only then: the others cost it a few header look-ups. What the request decides is
// decided with the request.

type predicate = xdsmatcherv3.Matcher_MatcherList_Predicate

// A choice is a filter for what a predicate holds of.
type choice struct {
	when   *predicate
	name   string
	filter validated
}

// chooses is a filter that is the first of others whose predicate holds, or none.
func (g *generator) chooses(choices ...choice) *compositev3.Composite {
	list := &xdsmatcherv3.Matcher_MatcherList{}
	for _, c := range choices {
		list.Matchers = append(list.Matchers, &xdsmatcherv3.Matcher_MatcherList_FieldMatcher{
			Predicate: c.when,
			OnMatch: &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{Action: &xdscorev3.TypedExtensionConfig{
				Name: c.name, TypedConfig: g.pack(&compositev3.ExecuteFilterAction{
					TypedConfig: &corev3.TypedExtensionConfig{Name: c.name, TypedConfig: g.pack(c.filter)},
				}),
			}}},
		})
	}
	return &compositev3.Composite{Matcher: &xdsmatcherv3.Matcher{MatcherType: &xdsmatcherv3.Matcher_MatcherList_{MatcherList: list}}}
}

// A body that is short has a length of up to five digits, said beforehand: less than
// 100,000 bytes.
const (
	shortLength = "[0-9]{1,5}"
	longLength  = "[1-9][0-9]{5,}"
)

// longRequest is of requests that may go on: an upgrade, a body that is long or of
// unsaid length, a long poll that says so (RFC 7240, section 4.3). A call by gRPC is
// one of these.
func (g *generator) longRequest() *predicate {
	return anyOne(
		g.ofRequest(envoy.HeaderUpgrade, is("e")), // websocket
		g.ofRequest("transfer-encoding", is("c")), // chunked
		g.ofRequest(envoy.HeaderPrefer, is("wait")),
		g.ofRequest("content-length", like(longLength)),
		all(opposite(g.bodiless()), opposite(g.ofRequest("content-length", like(shortLength)))),
	)
}

// bodiless is of methods by which nobody sends a body, as a rule; the commonest comes
// first, and is all that Envoy compares with then. Whatever has another name may have a
// body (POST, PATCH, REPORT, QUERY), and over HTTP/2 nothing else says so.
func (g *generator) bodiless() *predicate {
	var of []*predicate
	for _, method := range []string{"GET", "HEAD", "DELETE", "OPTIONS", "TRACE"} {
		of = append(of, g.ofRequest(":method", &xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_Exact{Exact: method}}))
	}
	return anyOne(of...)
}

// shortReply is of replies that are over soon.
func (g *generator) shortReply() *predicate {
	return anyOne(g.ofReply("content-length", like(shortLength)), g.ofReply(":status", like("204|304")))
}

// held is of calls that athd allowed, and of which it must know more later: never of
// people's, nor of the handshake's.
func (g *generator) held() *predicate {
	return g.decided(envoy.MetaHeld, &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_PresentMatch{PresentMatch: true}})
}

// decided is of what the decision said so.
func (g *generator) decided(key string, value *matcherv3.ValueMatcher) *predicate {
	return one(&xdscorev3.TypedExtensionConfig{
		Name: "envoy.matching.inputs.dynamic_metadata", TypedConfig: g.pack(&inputsv3.DynamicMetadataInput{
			Filter: envoy.MetaNamespace, Path: []*inputsv3.DynamicMetadataInput_PathSegment{{
				Segment: &inputsv3.DynamicMetadataInput_PathSegment_Key{Key: key},
			}},
		}),
	}, &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
		Matcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_CustomMatch{CustomMatch: &xdscorev3.TypedExtensionConfig{
			Name: "envoy.matching.matchers.metadata_matcher", TypedConfig: g.pack(&metadatav3.Metadata{Value: value}),
		}},
	})
}

func (g *generator) ofRequest(header string, value *xdsmatcherv3.StringMatcher) *predicate {
	return one(&xdscorev3.TypedExtensionConfig{
		Name: "request-headers", TypedConfig: g.pack(&matcherv3.HttpRequestHeaderMatchInput{HeaderName: header}),
	}, valued(value))
}

func (g *generator) ofReply(header string, value *xdsmatcherv3.StringMatcher) *predicate {
	return one(&xdscorev3.TypedExtensionConfig{
		Name: "response-headers", TypedConfig: g.pack(&matcherv3.HttpResponseHeaderMatchInput{HeaderName: header}),
	}, valued(value))
}

func valued(m *xdsmatcherv3.StringMatcher) *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate {
	return &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
		Matcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch{ValueMatch: m},
	}
}

func one(input *xdscorev3.TypedExtensionConfig, p *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate) *predicate {
	p.Input = input
	return &predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{SinglePredicate: p}}
}

// is matches what contains a text: as cheap as a look, and of a value that there is.
func is(part string) *xdsmatcherv3.StringMatcher {
	return &xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_Contains{Contains: part}, IgnoreCase: true}
}

func like(pattern string) *xdsmatcherv3.StringMatcher {
	return &xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_SafeRegex{SafeRegex: &xdsmatcherv3.RegexMatcher{
		EngineType: &xdsmatcherv3.RegexMatcher_GoogleRe2{GoogleRe2: &xdsmatcherv3.RegexMatcher_GoogleRE2{}}, Regex: pattern,
	}}}
}

func all(of ...*predicate) *predicate {
	return &predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher{AndMatcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList{Predicate: of}}}
}

func anyOne(of ...*predicate) *predicate {
	return &predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_OrMatcher{OrMatcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList{Predicate: of}}}
}

func opposite(p *predicate) *predicate {
	return &predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher{NotMatcher: p}}
}
