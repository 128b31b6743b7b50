package bootstrap

import (
	"strings"

	"go.yaml.in/yaml/v4"
)

// why says beside a setting what it is there for, so that whoever edits the
// configuration, or pastes a part of it into another, knows what would be lost.
// A key is the end of a setting's place: names of fields, and of the elements
// of a list, that have one, in brackets.
var why = map[string]string{
	"normalize_path":                   "One spelling of a path is left when it is routed and judged.",
	"path_with_escaped_slashes_action": "%2F is a slash to some servers and not to others.",
	"strip_trailing_host_dot":          `Else "app.example." is another virtual host than "app.example".`,
	"scheme_header_transformation":     `Else an API behind TLS and HTTP/2 is told ":scheme: http".`,
	"early_header_mutation_extensions": "What a client says of where it comes from does not count.",
	"local_reply_config":               "Envoy's own refusals as JSON. The first mapper leaves athd's alone: those have a content type.",
	"access_log":                       "No query and no header that could hold a secret. decision leads to athd's log.",
	"[envoy.filters.http.buffer]":      "Sleeps but on the handshake's routes: athd gets whole bodies, so that nobody holds it by sending slowly.",
	"request_headers_timeout":          "A client that sends headers slowly holds no connection for ever.",
	"use_remote_address":               "The address that the companion's limits count is the client's own.",
	"common_http_protocol_options.headers_with_underscores_action":         "Many servers read x_ath_agent_id as x-ath-agent-id.",
	"http2_protocol_options.override_stream_error_on_invalid_http_message": "Else one bad header ends everybody's connection.",

	"[envoy.filters.http.ext_authz]":                                                         "Asks athd. failure_mode_allow must stay false (its default).",
	"[envoy.filters.http.ext_authz].typed_config.grpc_service.timeout":                       "athd's own deadline towards its store is well under it.",
	"[envoy.filters.http.ext_authz].typed_config.status_on_error":                            "athd away is 503, not 403.",
	"[envoy.filters.http.ext_authz].typed_config.validate_mutations":                         "A reply that changes anything but these headers is refused.",
	"[envoy.filters.http.ext_authz].typed_config.allowed_headers":                            "What the decision needs, and where people put a token by mistake.",
	"[envoy.filters.http.ext_authz].typed_config.disallowed_headers":                         "Envoy's own, in which no client can put a token.",
	"[envoy.filters.http.ext_authz].typed_config.encode_raw_headers":                         "Else two headers of one name come as one, and odd bytes of the path as '!'.",
	"[envoy.filters.http.rbac]":                                                              "The guard, behind ext_authz: admits only what athd allowed, whatever keeps the check from being made.",
	"[envoy.filters.http.header_mutation]":                                                   "Trailers of a request are never checked: all are dropped.",
	"[envoy.filters.http.router].typed_config.suppress_envoy_headers":                        "What x-envoy-* headers would tell is nobody's business.",
	"typed_per_filter_config.envoy.filters.http.ext_authz.check_settings.context_extensions": "Tells athd where this route leads. No client can set it.",
	"typed_per_filter_config.envoy.filters.http.rbac.rbac":                                   "Admits only what athd allowed for this very provider.",
	"typed_per_filter_config.envoy.filters.http.header_mutation.mutations.request_mutations": "After the check: what is none of the API's business.",
	"response_headers_to_remove":                                                             "No script of an API becomes the service worker of the handshake's paths.",
	"route.prefix_rewrite":                                                                   "Prefix and rewrite both end with a slash: any other pair makes paths that were not judged.",
	"[companion].match":                                                                      "The handshake, which athd answers itself. Not checked: the agent has no token yet.",
	"[envoy.filters.http.cors]":                                                              "Before the check: a browser's preflight has no token. Routes without a policy know nothing of it.",
	"typed_per_filter_config.envoy.filters.http.cors":                                        "Scripts of these origins only, without cookies.",
	"response_headers_to_add":                                                                "Else a cache hands one origin's answer to another.",
	"[companion_cors].match":                                                                 "What agents in browsers ask of athd. No script of another origin reads the consent pages.",
	"[consent].match":                                                                        "The consent pages, which have this host for themselves.",
	"[proxy_runtime].match":                                                                  "Providers that came while athd runs. athd's reply says to which API a request goes.",
	"[proxy_runtime].typed_per_filter_config.envoy.filters.http.rbac.rbac":                   "Admits only what athd allowed, and sent to the very host that the request is about to be sent to.",
	"[proxy_runtime].typed_per_filter_config.athd.transport":                                 "Behind the check, by its metadata, which no client can write.",
	"[athd.transport]":                                                                       "Sleeps but on the route of run-time providers, as the next one does.",
	"resolved_address_filter":                                                                "What may not be connected to is dropped from what a name resolves to: a connection that fails is tried at the next address.",
	"[athd.egress]":                                                                          "Judges the address that is about to be connected to, whatever route led here. A missing one is refused.",
	"upstream_http_protocol_options":                                                         "The server's name, and that in its certificate, are those of the request.",
	"[athd_runtime].circuit_breakers":                                                        "What hangs at one API must not refuse another's.",
	"transport_socket_matcher":                                                               "Without TLS only where athd's reply said so.",

	"[athd.judge]": "Asks athd, by ext_proc. failure_mode_allow and allow_mode_override must stay false (their default).",
	"[athd.judge].typed_config.message_timeout":                          "athd's own deadline towards its store is well under it.",
	"[athd.judge].typed_config.status_on_error":                          "athd away is 503, not 500.",
	"[athd.judge].typed_config.mutation_rules":                           "An answer that changes anything but these headers is refused.",
	"[athd.judge].typed_config.forward_rules.allowed_headers":            "What the decision needs, and where people put a token by mistake.",
	"[athd.judge].typed_config.forward_rules.disallowed_headers":         "Envoy's own, in which no client can put a token.",
	"[athd.judge].typed_config.metadata_options":                         "Where the guard and the access log look.",
	"[athd.judge].typed_config.grpc_service.retry_policy":                "A check that a replica never answered is made once more, by another one. It changes nothing.",
	"typed_per_filter_config.athd.judge.overrides.grpc_initial_metadata": "Tells athd where this route leads. No client can set it.",
	"[athd.cookies]": "An agent gets no cookies, where people do.",
	"[athd.watch]":   "athd hears of long exchanges until they are over, and ends those whose token ends. Envoy tells by the heads which are long.",
	"[athd.watch].typed_config.typed_config.failure_mode_allow": "streams_on_loss: keep. athd ends exchanges by answers, which count all the same.",
	"processing_mode.response_trailer_mode":                     "Keeps the stream to athd open until the exchange is over.",
	"[athd.reply]":                                              "athd hears of the heads of replies to agents. What cannot be checked is refused.",
	"[athd.reply_trailers]":                                     "And of trailers, where a reply has some.",
	"delayed_close_timeout":                                     "Else a client of HTTP/1 learns a second later that its stream was ended.",
	"[athd_streams].typed_extension_protocol_options":           "gRPC is HTTP/2. Another connection for each thousand streams.",
	"[athd_streams].circuit_breakers":                           "Of its own: however many streams are open, decisions do not wait.",

	"[proxy_unknown].match": "Checked without a provider, so that athd answers in its own words.",
	"[ath_unknown].match":   "The rest of /ath never reaches an app.",

	"[envoy.filters.http.ext_authz].typed_config.grpc_service.retry_policy": "A check that a replica never answered is made once more, by another one. It changes nothing.",
	"[companion].route.retry_policy":                                        "Only what cannot have arrived is sent again.",
	"[companion_cors].route.retry_policy":                                   "Only what cannot have arrived is sent again.",
	"[discovery].route.retry_policy":                                        "What only tells may be asked again.",
	"health_checks":                                                         "A replica that is going says no here, and goes on answering until nobody asks it.",
	"outlier_detection":                                                     "A replica that does not answer is left out, before its health was asked. What it answers does not count.",
	"common_lb_config.healthy_panic_threshold":                              "While no replica is healthy all are asked; one that is healthy is enough.",
	"circuit_breakers.thresholds.max_retries":                               "Envoy's default of three at once is too few while a replica goes.",

	"[athd.replies]": "No API says in a reply, or its trailers, what only athd says.",

	"[athd_authz].typed_extension_protocol_options":    "gRPC is HTTP/2.",
	"[athd_authz].circuit_breakers":                    "The default of 1024 requests would refuse under load.",
	"validation_context.trusted_ca":                    "Without it TLS verifies nothing.",
	"validation_context.match_typed_subject_alt_names": "The certificate must be for the API's own name.",
}

// explain puts a comment above each setting in why. place is where n stands.
func explain(n *yaml.Node, place string) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			at := place + "." + key.Value
			remark(key, at)
			explain(value, at)
		}
	case yaml.SequenceNode:
		for _, element := range n.Content {
			name := nameOf(element)
			at := place
			if name != "" {
				at += ".[" + name + "]"
				remark(element, at)
			}
			explain(element, at)
		}
	}
}

func remark(n *yaml.Node, at string) {
	longest := ""
	for suffix := range why {
		if strings.HasSuffix(at, "."+suffix) && len(suffix) > len(longest) {
			longest = suffix
		}
	}
	if longest != "" {
		n.HeadComment = "# " + why[longest]
	}
}

// nameOf returns the name of an element of a list, if it has one.
func nameOf(n *yaml.Node) string {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == "name" {
			return n.Content[i+1].Value
		}
	}
	return ""
}
