// Package kubernetes renders deploy/kubernetes as kubectl apply -k does, reads
// the result with Kubernetes' own types, in which no field may be unknown, and
// holds it against what keeps athd's answers with the gateway.
package kubernetes
