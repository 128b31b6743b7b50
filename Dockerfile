# Images of athd, each with one static program and nothing else: no shell, no
# package manager, no root.
#
#   docker build .                     athd, the sidecar
#   docker build --target athctl .     the command line of operators and agents
#   docker build --target demo .       the demo's OAuth server and shop; see docker-compose.yaml
#
# Go's modules come from where GOPROXY says: --build-arg GOPROXY=…

FROM golang:1.26.8 AS build
ARG GOPROXY
ARG GOFLAGS
ENV CGO_ENABLED=0
WORKDIR /src
COPY . .
RUN go build -trimpath -buildvcs=false -ldflags "-s -w" -o /out/ ./cmd/athd ./cmd/athctl ./cmd/athdemo
# Volumes begin as copies of these folders, owner included.
RUN mkdir -p /dirs/athd/run/athd /dirs/athd/run/envoy /dirs/athd/etc/athd/secrets /dirs/athd/var/log/athd \
    /dirs/athctl/agent \
    /dirs/demo/state /dirs/demo/secrets/athd /dirs/demo/secrets/redis /dirs/demo/secrets/login \
    /dirs/demo/secrets/shop /dirs/demo/secrets/operator

FROM scratch AS demo
COPY --from=build --chown=65532:65532 /dirs/demo/ /
COPY --from=build /out/athdemo /athdemo
USER 65532:65532
ENTRYPOINT ["/athdemo"]

FROM scratch AS athctl
COPY --from=build --chown=65532:65532 /dirs/athctl/ /
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/athctl /athctl
USER 65532:65532
WORKDIR /agent
ENTRYPOINT ["/athctl"]

FROM scratch AS athd
COPY --from=build --chown=65532:65532 /dirs/athd/ /
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/athd /athd
USER 65532:65532
WORKDIR /etc/athd
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s --retries=3 CMD ["/athd", "health"]
ENTRYPOINT ["/athd"]
CMD ["serve"]
