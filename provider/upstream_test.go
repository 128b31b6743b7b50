package provider

import "testing"

// F-18
func TestAnUpstreamMaySpeakHTTP2WithoutTLS(t *testing.T) {
	c := &check{}
	base, up := c.upstream("upstream", "h2c://127.0.0.1:50051/base")
	if base == nil || base.String() != "http://127.0.0.1:50051/base" || up.String() != "h2c://127.0.0.1:50051/base" {
		t.Errorf("%v, %v", base, up)
	}
	if base, up := c.upstream("upstream", "http://127.0.0.1:3000"); base == nil || base != up {
		t.Errorf("%v, %v", base, up)
	}
}
