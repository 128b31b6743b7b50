# Images of athd, each with one static program and nothing else: no shell, no
# package manager, no root.
#
#   docker build .                     athd, the sidecar
#   docker build --target athctl .     the command line of operators and agents
#   docker build --target demo .       the demo's OAuth server and shop; see docker-compose.yaml
#
# What a binary says of itself, and the image's labels: --build-arg VERSION=v0.1.0
# --build-arg REVISION=$(git rev-parse HEAD). Released images are built from here,
# by `make release-images`, for two platforms: Go compiles for both where it runs.
# The binaries are those of the release's archives, to the byte.
#
# Go's modules come from where GOPROXY says: --build-arg GOPROXY=…

ARG VERSION=devel
ARG REVISION=unknown

FROM --platform=${BUILDPLATFORM:-linux} golang:1.26.8 AS build
ARG GOPROXY
ARG GOFLAGS
ARG VERSION
ARG REVISION
ARG TARGETOS
ARG TARGETARCH
ENV CGO_ENABLED=0
WORKDIR /src
COPY . .
RUN GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X github.com/athd/athd/internal/version.linkedVersion=$VERSION -X github.com/athd/athd/internal/version.linkedRevision=$REVISION" \
    -o /out/ ./cmd/athd ./cmd/athctl ./cmd/athdemo
# Volumes begin as copies of these folders, owner included.
RUN mkdir -p /dirs/athd/run/athd /dirs/athd/run/envoy /dirs/athd/etc/athd/secrets /dirs/athd/var/log/athd \
    /dirs/athctl/agent \
    /dirs/demo/state /dirs/demo/secrets/athd /dirs/demo/secrets/redis /dirs/demo/secrets/login \
    /dirs/demo/secrets/shop /dirs/demo/secrets/operator

FROM scratch AS demo
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="athdemo" \
      org.opencontainers.image.description="OAuth server, shop and checks of athd's demo: not for production" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="https://github.com/athd/athd" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build --chown=65532:65532 /dirs/demo/ /
COPY --from=build /out/athdemo /athdemo
USER 65532:65532
ENTRYPOINT ["/athdemo"]

FROM scratch AS athctl
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="athctl" \
      org.opencontainers.image.description="The command line of athd's operators, and of agents that try athd" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="https://github.com/athd/athd" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build --chown=65532:65532 /dirs/athctl/ /
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/athctl /athctl
USER 65532:65532
WORKDIR /agent
ENTRYPOINT ["/athctl"]

FROM scratch AS athd
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="athd" \
      org.opencontainers.image.description="A sidecar for Envoy: AI agents call APIs for users who agreed, within scopes that were approved" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="https://github.com/athd/athd" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build --chown=65532:65532 /dirs/athd/ /
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/athd /athd
USER 65532:65532
WORKDIR /etc/athd
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s --retries=3 CMD ["/athd", "health"]
ENTRYPOINT ["/athd"]
CMD ["serve"]
