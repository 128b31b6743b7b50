package verifyenvoy

import (
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	upstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/rbac/matchers/upstream_ip_port/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// upstreamIP is the address that a permission is about; "" if it is about none.
func upstreamIP(p *rbacv3.Permission) string {
	m := &upstreamv3.UpstreamIpPortMatcher{}
	if a := p.GetMatcher().GetTypedConfig(); a == nil || a.UnmarshalTo(m) != nil {
		return ""
	}
	return m.GetUpstreamIp().GetAddressPrefix()
}

// edges gives the range that begins at an address another length.
func edges(p *rbacv3.Permission, address string, bits uint32) {
	if upstreamIP(p) == address {
		edit(p.GetMatcher().GetTypedConfig(), &upstreamv3.UpstreamIpPortMatcher{}, func(m *upstreamv3.UpstreamIpPortMatcher) {
			m.UpstreamIp.PrefixLen = wrapperspb.UInt32(bits)
		})
	}
}

// everyPort takes the port off an address.
func everyPort(p *rbacv3.Permission, address string) {
	if upstreamIP(p) == address {
		edit(p.GetMatcher().GetTypedConfig(), &upstreamv3.UpstreamIpPortMatcher{}, func(m *upstreamv3.UpstreamIpPortMatcher) { m.UpstreamPortRange = nil })
	}
}
