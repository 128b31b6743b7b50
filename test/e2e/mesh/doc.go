// Package mesh takes agents through Envoys that are configured as Istio and
// Envoy Gateway configure them, with athd behind (docs/istio.md,
// docs/envoy-gateway.md): the check says no provider and no mount, or joins
// headers, or leaves some out, and it stands on the handshake's paths too.
//
//	istio_test.go            Istio's filter blocks by hand, with and without deploy/istio/filters.yaml
//	people_test.go           people beside agents, in a mesh
//	envoygateway_test.go     Envoy Gateway's, by hand
//	deploy_test.go           deploy/istio and deploy/envoy-gateway say what they must
//	generated_test.go        what Envoy Gateway itself makes of its files (make test-mesh)
//	generated_istio_test.go  what Istio itself makes of its own (make test-mesh)
package mesh
