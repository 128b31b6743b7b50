package verify

import (
	"regexp"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/athd/athd/envoy"
	"github.com/athd/athd/provider"
)

// verifyStrictReading wants one spelling of a request to be left when it is routed
// and judged.
func (m *manager) verifyStrictReading() {
	ours := func(good bool, what, remedy string) {
		if !good {
			m.say(m.ours(), m.where, what, remedy)
		}
	}
	ours(m.GetNormalizePath().GetValue(), "paths are not normalized: /a/../b is routed as it is written", "set normalize_path: true")
	// merge_slashes may have either value: what is merged is judged merged, and
	// athd refuses what is not.
	ours(m.GetCommonHttpProtocolOptions().GetHeadersWithUnderscoresAction() != corev3.HttpProtocolOptions_ALLOW,
		"headers with underscores pass: many servers read x_ath_agent_id as x-ath-agent-id", "set headers_with_underscores_action: REJECT_REQUEST")
	m.verifyEscapedSlashes()
	if m.expect.ByHost {
		return
	}
	worse := func(good bool, what, remedy string) {
		if !good {
			m.warning(m.where, what, remedy)
		}
	}
	worse(m.GetUseRemoteAddress().GetValue(), "clients say themselves where they come from, and may send headers that steer Envoy", "set use_remote_address: true")
	worse(m.GetInternalAddressConfig() == nil || len(m.GetInternalAddressConfig().GetCidrRanges()) > 0,
		"an empty internal_address_config makes clients on loopback internal, whose headers steer Envoy", "remove internal_address_config")
	worse(m.GetStripTrailingHostDot(), `"app.example." is another virtual host than "app.example"`, "set strip_trailing_host_dot: true")
}

func (m *manager) verifyEscapedSlashes() {
	needed := slices.ContainsFunc(m.expect.Providers.All(), func(p *provider.Provider) bool { return p.EncodedSlash })
	switch m.GetPathWithEscapedSlashesAction() {
	case hcmv3.HttpConnectionManager_REJECT_REQUEST:
		if needed {
			m.warning(m.where, "%2F in a path is refused, though a provider has allow_encoded_slash", "set path_with_escaped_slashes_action: KEEP_UNCHANGED")
		}
	case hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD, hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT:
		m.say(m.ours(), m.where, "%2F in a path becomes a slash: a segment becomes two", "set path_with_escaped_slashes_action: REJECT_REQUEST")
	default:
		if !needed {
			m.warning(m.where, "%2F in a path is let through to athd, which refuses it", "set path_with_escaped_slashes_action: REJECT_REQUEST")
		}
	}
}

// secretInLog finds a format that prints a header which holds a secret.
var secretInLog = regexp.MustCompile(`(?i)(%REQ(_WITHOUT_QUERY)?\([^)]*|headers(_to_log|ToLog)"[^\]]*|request\.headers\[[^\]]*)\b(authorization|cookie|x-ath-user-token)\b`)

// verifyAccessLogs looks at access logs and traces.
func (m *manager) verifyAccessLogs() {
	prints := func(where string, log proto.Message) {
		if text, err := protojson.Marshal(log); err != nil || secretInLog.Match(text) {
			m.fault(where, "it prints authorization or cookies: agents' or users' tokens", "take them out of the format")
		}
	}
	for _, l := range m.GetAccessLog() {
		prints(m.where+" / access log "+envoy.Quote(l.GetName()), l)
	}
	for _, f := range m.GetHttpFilters() {
		var r routerv3.Router
		if open(f.GetTypedConfig(), &r) {
			for _, l := range r.GetUpstreamLog() {
				prints(m.where+" / upstream log "+envoy.Quote(l.GetName()), l)
			}
		}
	}
	for _, tag := range m.GetTracing().GetCustomTags() {
		if name := tag.GetRequestHeader().GetName(); name != "" && secretHeader.MatchString(name) {
			m.fault(m.where+" / tracing", "the tag "+envoy.Quote(tag.GetTag())+" holds "+envoy.Quote(name)+": agents' or users' tokens", "remove the tag")
		}
	}
}

var secretHeader = regexp.MustCompile(`(?i)^(authorization|cookie|x-ath-user-token)$`)
