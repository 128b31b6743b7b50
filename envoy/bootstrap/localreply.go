package bootstrap

import (
	"fmt"
	"slices"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/envoy"
)

// localReplies makes Envoy's own refusals JSON with the codes of E-1 (P-7).
// The first mapper that matches wins.
//
// Neither flags nor details tell a refusal of athd's from athd being away. But
// only the former has a content type when the mappers run: the first mapper
// matches that and changes nothing. So every reply of ours sets one, and there
// is no body format for all.
func (g *generator) localReplies() *hcmv3.LocalReplyConfig {
	unavailable := func(when *accesslogv3.AccessLogFilter, message, retryAfter string) *hcmv3.ResponseMapper {
		return adding(says(when, ath.InternalError, message), "retry-after", retryAfter)
	}
	refused := func(m *hcmv3.ResponseMapper, status uint32) *hcmv3.ResponseMapper {
		m.StatusCode = wrapperspb.UInt32(status)
		return m
	}
	const noAPI = "The API cannot be reached."
	unreachable := []string{"UH", "UF", "UC", "UO", "URX", "UR", "LR", "UPE", "NC"}
	var closed []*hcmv3.ResponseMapper
	if g.config.RuntimeProviders {
		unreachable = append(unreachable, "DF")
		// The guard refuses before there is an address. That one is closed is told to
		// nobody who could look for others.
		closed = append(closed, refused(unavailable(g.cel("response.code_details.startsWith('rbac_access_denied') && upstream.address != ''"), noAPI, "1"), 503))
	}
	var processed []*hcmv3.ResponseMapper
	if g.config.ByExtProc || g.config.hears() {
		processed = []*hcmv3.ResponseMapper{
			refused(unavailable(g.cel("response.code_details.startsWith('ext_proc_error')"), athdAway, "1"), 503),
			refused(unavailable(g.cel("response.code_details in ['spurious_message', 'unhandled_message']"+
				" || response.code_details.startsWith('header_mutation_')"), undecided, "1"), 503),
		}
	}
	return &hcmv3.LocalReplyConfig{Mappers: slices.Concat([]*hcmv3.ResponseMapper{
		{Filter: g.cel("'content-type' in response.headers")},
		// No route takes a tunnel, so that nobody was asked about it.
		adding(refused(says(g.cel("request.method == 'CONNECT'"), ath.MethodNotAllowed, "Tunnels are not opened here."), 405),
			"allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
		// athd is down, or late: for a check, and for the handshake.
		refused(unavailable(g.cel("response.code_details == 'ext_authz_error'"), athdAway, "1"), 503),
		refused(unavailable(g.cel("response.code >= 503 && xds.cluster_name == '"+envoy.CompanionCluster+"'"), athdAway, "1"), 503),
	}, processed, closed, []*hcmv3.ResponseMapper{
		// athd said what it never says; or the guard refused.
		refused(unavailable(g.cel("response.code_details in ['ext_authz_invalid', 'ext_authz_denied']"+
			" || response.code_details.startsWith('rbac_access_denied')"), undecided, "1"), 503),
		unavailable(g.cel("response.code_details.startsWith('overload')"), "The gateway is overloaded; try again later.", "5"),
		says(statusIs(accesslogv3.ComparisonFilter_EQ, 504), ath.InternalError, "The API did not answer in time."),
		unavailable(flags(unreachable...), noAPI, "1"),
		says(statusIs(accesslogv3.ComparisonFilter_EQ, 404), ath.NotFound, "There is nothing here."),
		says(statusIs(accesslogv3.ComparisonFilter_EQ, 408), ath.InvalidRequest, "The request did not arrive in time."),
		says(statusIs(accesslogv3.ComparisonFilter_EQ, 413), ath.PayloadTooLarge, "The request's body is too large."),
		says(statusIs(accesslogv3.ComparisonFilter_EQ, 431), ath.InvalidRequest, "The request's headers are too large."),
		says(statusIs(accesslogv3.ComparisonFilter_GE, 500), ath.InternalError, "The gateway failed."),
		says(statusIs(accesslogv3.ComparisonFilter_GE, 400), ath.InvalidRequest, "The request is not acceptable."),
	})}
}

const (
	athdAway  = "The authorization service (athd) cannot be reached."
	undecided = "The decision cannot be made now; try again."
)

// ownID begins the id of a refusal about which athd was not asked: it is in
// Envoy's access log only.
const ownID = "env_"

// says answers in the form of E-1, with athd's decision_id where there was a
// decision, and one of Envoy's own where there was none (E-2). It is made once,
// as a header, from where the body and the access log take it.
func says(when *accesslogv3.AccessLogFilter, code ath.Code, message string) *hcmv3.ResponseMapper {
	body := stringStruct(map[string]string{"code": string(code), "message": message})
	body.Fields["details"] = structpb.NewStructValue(stringStruct(map[string]string{"decision_id": "%RESP(" + envoy.HeaderDecisionID + ")%"}))
	return &hcmv3.ResponseMapper{
		Filter: when,
		HeadersToAdd: []*corev3.HeaderValueOption{
			{
				Header:       &corev3.HeaderValue{Key: envoy.HeaderDecisionID, Value: ownID + "%UNIQUE_ID%"},
				AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
			},
			{
				Header:       &corev3.HeaderValue{Key: envoy.HeaderDecisionID, Value: "%DYNAMIC_METADATA(" + envoy.CheckFilter + ":" + envoy.MetaDecision + ")%"},
				AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD, // unless it is empty
			},
		},
		BodyFormatOverride: &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: body}},
	}
}

// adding adds a header.
func adding(m *hcmv3.ResponseMapper, name, value string) *hcmv3.ResponseMapper {
	m.HeadersToAdd = append(m.HeadersToAdd, &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	})
	return m
}

func (g *generator) cel(expression string) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ExtensionFilter{
		ExtensionFilter: &accesslogv3.ExtensionFilter{
			Name: "cel",
			ConfigType: &accesslogv3.ExtensionFilter_TypedConfig{
				TypedConfig: g.pack(&celv3.ExpressionFilter{Expression: expression}),
			},
		},
	}}
}

func statusIs(op accesslogv3.ComparisonFilter_Op, code uint32) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_StatusCodeFilter{
		StatusCodeFilter: &accesslogv3.StatusCodeFilter{Comparison: &accesslogv3.ComparisonFilter{
			// The key is required; nothing sets it.
			Op: op, Value: &corev3.RuntimeUInt32{DefaultValue: code, RuntimeKey: fmt.Sprintf("athd.local_reply.%d", code)},
		}},
	}}
}

func flags(names ...string) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{
		ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{Flags: names},
	}}
}
