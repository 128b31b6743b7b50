// Package release compares what makes releases with what is released:
// .goreleaser.yaml, Dockerfile, and the workflows. Nothing of it is published or
// fetched here; make release-snapshot builds a whole release.
package release
