package verifyenvoy

import (
	"slices"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	headersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	tometadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_to_metadata/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type anyOf = anypb.Any

// insert puts a filter at a place of the chain: 0 is before the check, 1 behind.
func insert(at int, name string, config proto.Message) func(*Config) {
	return func(c *Config) {
		c.Manager(func(m *hcmv3.HttpConnectionManager) {
			m.HttpFilters = slices.Insert(m.HttpFilters, at, httpFilter(name, config))
		})
	}
}

func httpFilter(name string, config proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(config)}}
}

// script is a Lua filter.
func script(code string) proto.Message {
	return &luav3.Lua{DefaultSourceCode: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: code}}}
}

func setting(name, value string) *mutationv3.HeaderMutation {
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{
		Header: &corev3.HeaderValue{Key: name, Value: value}, AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}}}
}

func mutations(list ...*mutationv3.HeaderMutation) proto.Message {
	return &headersv3.HeaderMutation{Mutations: &headersv3.Mutations{RequestMutations: list}}
}

func ofTheChain() []Mutation {
	const code = `function envoy_on_request(h) h:headers():replace("authorization", "x") end`
	return []Mutation{
		{Name: "no check", Do: func(c *Config) {
			c.Manager(func(m *hcmv3.HttpConnectionManager) { m.HttpFilters = m.HttpFilters[1:] })
		}, Finds: []string{"ext_authz is missing"}},
		{Name: "two checks", Do: func(c *Config) {
			c.Manager(func(m *hcmv3.HttpConnectionManager) {
				second := proto.Clone(m.HttpFilters[0]).(*hcmv3.HttpFilter)
				second.Name = "second"
				m.HttpFilters = slices.Insert(m.HttpFilters, 1, second)
			})
		}, Finds: []string{"there are two ext_authz filters"}},
		{Name: "code behind the check", Do: insert(2, "lua", script(code)), Finds: []string{"behind ext_authz it may change the route or headers"}},
		{Name: "code before the check", Do: insert(0, "lua", script(code)), Finds: []string{"it runs code that could write the dynamic metadata"}, Warning: true},
		{Name: "code that forges the yes", Do: insert(0, "lua",
			script(`function envoy_on_request(h) h:streamInfo():dynamicMetadata():set("envoy.filters.http.ext_authz", "ath_allow", true) end`)),
			Finds: []string{"it could write what the guard wants"}},
		{Name: "a header that forges the yes", Do: insert(1, "forge", &tometadatav3.Config{RequestRules: []*tometadatav3.Config_Rule{{
			Header:          "x-provider",
			OnHeaderPresent: &tometadatav3.Config_KeyValuePair{MetadataNamespace: check, Key: "provider"},
		}}}), Finds: []string{"it could write what the guard wants"}},
		{Name: "a filter behind the check that sets authorization", Do: insert(2, "set", mutations(setting("Authorization", "Bearer x"))), Finds: []string{`it sets the header "Authorization"`}},
		{Name: "a filter behind the check that removes authorization", Do: insert(2, "drop", mutations(&mutationv3.HeaderMutation{
			Action: &mutationv3.HeaderMutation_Remove{Remove: "Authorization"},
		})), Finds: []string{"it removes authorization"}},
		{Name: "trailers let through", Do: func(c *Config) {
			c.Filter(hygiene, func(f *hcmv3.HttpFilter) {
				edit(f.GetTypedConfig(), &headersv3.HeaderMutation{}, func(h *headersv3.HeaderMutation) { h.Mutations.RequestTrailersMutations = nil })
			})
		}, Finds: []string{"trailers of HTTP/2 requests reach APIs"}},
		{Name: "a hygiene under another name", Do: func(c *Config) {
			c.Filter(hygiene, func(f *hcmv3.HttpFilter) { f.Name = "hygiene" })
		}, Finds: []string{`settings for the filter "envoy.filters.http.header_mutation", which is not in the chain`, "the API sees"}},
		{Name: "Envoy's headers shown", Do: func(c *Config) {
			c.Filter(router, func(f *hcmv3.HttpFilter) {
				edit(f.GetTypedConfig(), &routerv3.Router{}, func(r *routerv3.Router) { r.SuppressEnvoyHeaders = false })
			})
		}, Finds: []string{"APIs see headers of Envoy's"}, Warning: true},
		{Name: "an upgrade with filters of its own", Do: func(c *Config) {
			c.Manager(func(m *hcmv3.HttpConnectionManager) {
				m.UpgradeConfigs = []*hcmv3.HttpConnectionManager_UpgradeConfig{{
					UpgradeType: "websocket", Filters: []*hcmv3.HttpFilter{httpFilter(router, &routerv3.Router{SuppressEnvoyHeaders: true})},
				}}
			})
		}, Finds: []string{"ext_authz is missing"}},
	}
}

// managed edits the connection manager.
func managed(change func(*hcmv3.HttpConnectionManager)) func(*Config) {
	return func(c *Config) { c.Manager(change) }
}

func ofTheManager() []Mutation {
	return []Mutation{
		{Name: "paths not normalized", Do: managed(func(m *hcmv3.HttpConnectionManager) { m.NormalizePath = nil }), Finds: []string{"paths are not normalized"}},
		{Name: "escaped slashes unescaped", Do: managed(func(m *hcmv3.HttpConnectionManager) {
			m.PathWithEscapedSlashesAction = hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD
		}), Finds: []string{"%2F in a path becomes a slash"}},
		{Name: "escaped slashes let through", Do: managed(func(m *hcmv3.HttpConnectionManager) {
			m.PathWithEscapedSlashesAction = hcmv3.HttpConnectionManager_KEEP_UNCHANGED
		}), Finds: []string{"%2F in a path is let through"}, Warning: true},
		{Name: "underscores let through", Do: managed(func(m *hcmv3.HttpConnectionManager) {
			m.CommonHttpProtocolOptions.HeadersWithUnderscoresAction = corev3.HttpProtocolOptions_ALLOW
		}), Finds: []string{"headers with underscores pass"}},
		{Name: "clients' word for their address", Do: managed(func(m *hcmv3.HttpConnectionManager) { m.UseRemoteAddress = wrapperspb.Bool(false) }),
			Finds: []string{"clients say themselves where they come from"}, Warning: true},
		{Name: "the last dot of hosts", Do: managed(func(m *hcmv3.HttpConnectionManager) { m.StripTrailingHostDot = false }), Finds: []string{"is another virtual host"}, Warning: true},
		{Name: "tokens in the access log", Do: managed(func(m *hcmv3.HttpConnectionManager) {
			m.AccessLog = append(m.AccessLog, &accesslogv3.AccessLog{Name: "file", ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(&filev3.FileAccessLog{
				Path: "/dev/null", AccessLogFormat: &filev3.FileAccessLog_LogFormat{LogFormat: &corev3.SubstitutionFormatString{
					Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
						Specifier: &corev3.DataSource_InlineString{InlineString: "%START_TIME% %REQ(Authorization):40%\n"},
					}},
				}},
			})}})
		}), Finds: []string{"it prints authorization or cookies"}},
	}
}
