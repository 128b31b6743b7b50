package bootstrap

import (
	"strings"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"

	"github.com/athd/athd/envoy"
	"github.com/athd/athd/provider"
)

// What stands in front of Envoy, and what of the way to it counts.

const (
	headerForwardedProto = "x-forwarded-proto"
)

// earlyMutations take away, before the route is chosen, what clients say of
// where they come from. What trusted proxies say of it stays; where they do not
// say by which scheme a request came, it is public_url's.
func (g *generator) earlyMutations() []*corev3.TypedExtensionConfig {
	mutations := []*mutationv3.HeaderMutation{remove(envoy.HeaderForwardedFor), remove("x-forwarded-host"), remove("forwarded")}
	if g.config.TrustedHops > 0 {
		mutations = mutations[1:]
		if g.publicScheme() == "https" {
			mutations = append(mutations, sets(headerForwardedProto, "https", corev3.HeaderValueOption_ADD_IF_ABSENT))
		}
	}
	return []*corev3.TypedExtensionConfig{{
		Name:        "envoy.http.early_header_mutation.header_mutation",
		TypedConfig: g.pack(&earlyv3.HeaderMutation{Mutations: mutations}),
	}}
}

// protoForApp tells an app by which scheme it is reached. Envoy says how the
// connection came, which is http where something in front of it ends TLS, and an
// app that leads http to https would do so for ever.
func (g *generator) protoForApp(app *provider.App) []*mutationv3.HeaderMutation {
	if g.config.TrustedHops > 0 || len(g.config.ListenTLS) > 0 ||
		g.publicScheme() != "https" || strings.HasPrefix(app.Audience, "http://") {
		return nil
	}
	return []*mutationv3.HeaderMutation{sets(headerForwardedProto, "https", corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)}
}

func (g *generator) publicScheme() string {
	scheme, _, _ := strings.Cut(g.config.PublicURL, ":")
	return scheme
}

// clientForCompanion tells the companion the address that counts, alone, where
// it is not the last of several.
func (g *generator) clientForCompanion() []*corev3.HeaderValueOption {
	if g.config.TrustedHops == 0 {
		return nil
	}
	return []*corev3.HeaderValueOption{{
		Header:       &corev3.HeaderValue{Key: envoy.HeaderForwardedFor, Value: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}}
}

func sets(name, value string, how corev3.HeaderValueOption_HeaderAppendAction) *mutationv3.HeaderMutation {
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{
		Header: &corev3.HeaderValue{Key: name, Value: value}, AppendAction: how,
	}}}
}
