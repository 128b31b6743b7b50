package bootstrap

import (
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/envoy"
)

// hiddenPath stands in the access log for a path that is not shown.
const hiddenPath = "[not shown]"

// accessLog writes one JSON line per request to standard output. It holds no
// query, no header that could hold a secret, and athd's decision_id, which
// leads to the audit log. Host and path are those that the API saw, where one
// did; the route names the provider. The path is left out where it may hold a
// credential of ours: see ours and deep.
func (g *generator) accessLogs() []*accesslogv3.AccessLog {
	return []*accesslogv3.AccessLog{
		g.accessLog(every(pathIs(ours(), false), either(pathIs(deep, false), allowed(true))), "%PATH(NQ:PATH)%"),
		g.accessLog(either(pathIs(ours(), true), every(pathIs(deep, true), allowed(false))), hiddenPath),
	}
}

func (g *generator) accessLog(when *accesslogv3.AccessLogFilter, path string) *accesslogv3.AccessLog {
	fields := map[string]string{
		"time":     "%START_TIME%",
		"method":   "%REQ(:METHOD)%",
		"host":     "%REQ(:AUTHORITY)%",
		"path":     path,
		"status":   "%RESPONSE_CODE%",
		"flags":    "%RESPONSE_FLAGS%",
		"details":  "%RESPONSE_CODE_DETAILS%",
		"route":    "%ROUTE_NAME%",
		"ms":       "%DURATION%",
		"failure":  "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
		"decision": "%DYNAMIC_METADATA(" + envoy.CheckFilter + ":" + envoy.MetaDecision + ")%",
		"reason":   "%DYNAMIC_METADATA(" + envoy.CheckFilter + ":" + envoy.MetaReason + ")%",
		"agent":    "%DYNAMIC_METADATA(" + envoy.CheckFilter + ":" + envoy.MetaAgent + ")%",
		"provider": "%DYNAMIC_METADATA(" + envoy.CheckFilter + ":" + envoy.MetaProvider + ")%",
		"client":   "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
		"refusal":  "%RESP(" + envoy.HeaderDecisionID + ")%",
		"scope":    "%DYNAMIC_METADATA(" + envoy.CheckFilter + ":" + envoy.MetaScope + ")%",
	}
	return &accesslogv3.AccessLog{
		Name:   "envoy.access_loggers.stdout",
		Filter: when,
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: g.pack(&streamv3.StdoutAccessLog{
			AccessLogFormat: &streamv3.StdoutAccessLog_LogFormat{LogFormat: &corev3.SubstitutionFormatString{
				Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: stringStruct(fields)},
			}},
		})},
	}
}

// deep is a pattern for paths that may be encoded more than once: they have an
// encoded percent sign, or one that encodes nothing. What they hold only athd
// can tell, which allows none that hold a token.
const deep = "%25|%(?:[^0-9a-f]|.[^0-9a-f]|.?$)"

// ours is a pattern for tokens, renewals, secrets, sessions and codes of ours, plain
// or encoded once, and for links that heal a connection. Beginnings are enough, and
// what two share is written once: Envoy wants patterns small.
func ours() string {
	const cOrS = "(?:[cs]|%[4-7]3)" // of secret and sess
	return encoded("ath_") + "(?:(?:" + encoded("tk") + "|" + encoded("rt") + ")" + encoded("_") +
		"|" + encoded("se") + cOrS + "|" + encoded("cod") + ")|" + ath.HealPath
}

// pathIs is of requests whose path, without its query, has a part that is as
// the pattern wants it, in any case; false: of all others.
func pathIs(pattern string, is bool) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_HeaderFilter{
		HeaderFilter: &accesslogv3.HeaderFilter{Header: &routev3.HeaderMatcher{
			Name: ":path",
			HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
				MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{
					Regex: "(?i)[^?]*(?:" + pattern + ").*",
				}},
			}},
			InvertMatch: !is, TreatMissingHeaderAsEmpty: true,
		}},
	}}
}

// encoded is a pattern for lower-case text, each character of which may be
// percent-encoded.
func encoded(text string) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	for _, c := range []byte(text) {
		b.WriteString("(?:" + string(c) + "|%")
		if c == '_' {
			b.WriteString("5f)")
		} else { // a letter, small or capital
			b.WriteString("[" + string(hex[c>>4-2]) + string(hex[c>>4]) + "]" + string(hex[c&15]) + ")")
		}
	}
	return b.String()
}

// allowed is of requests that athd allowed; false: of all others.
func allowed(yes bool) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_MetadataFilter{
		MetadataFilter: &accesslogv3.MetadataFilter{
			Matcher: &matcherv3.MetadataMatcher{
				Filter: envoy.CheckFilter,
				Path: []*matcherv3.MetadataMatcher_PathSegment{{
					Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: envoy.MetaAllow},
				}},
				Value: &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_BoolMatch{BoolMatch: yes}},
			},
			MatchIfKeyNotFound: wrapperspb.Bool(!yes),
		},
	}}
}

func either(filters ...*accesslogv3.AccessLogFilter) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_OrFilter{
		OrFilter: &accesslogv3.OrFilter{Filters: filters},
	}}
}

func every(filters ...*accesslogv3.AccessLogFilter) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_AndFilter{
		AndFilter: &accesslogv3.AndFilter{Filters: filters},
	}}
}

func stringStruct(fields map[string]string) *structpb.Struct {
	s := &structpb.Struct{Fields: make(map[string]*structpb.Value, len(fields))}
	for k, v := range fields {
		s.Fields[k] = structpb.NewStringValue(v)
	}
	return s
}
