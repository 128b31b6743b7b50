// Package compose holds docker-compose.yaml, the Dockerfile and what they
// mount to what they promise, without an engine: the file is read as compose
// reads it, Envoy validates the configuration that athd writes for it, and a
// real redis-server runs on its configuration. make test-compose runs all of
// it for real.
package compose
