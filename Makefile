# What can be done here: make help. Parts such as Envoy land in .tools, see tools/setup.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: test-ext-proc test-streams bench-streams test-days test-oauth test-upgrade chaos-refresh bench-runtime vulnerabilities release release-tools release-check release-snapshot release-images schema bench-flood help demo test-compose demo-parts build test setup lint scripts kubernetes gotests test-mesh rules mutants fuzz bench clean distclean
.NOTPARALLEL:

FUZZTIME ?= 10s
FUZZ ?=
TIMEOUT ?= 12m
ARGS ?=
SERVERS ?= dex keycloak spring hydra
ROUNDS ?= 1000
PROCESS_ROUNDS ?= 4
BASE ?=
VERSION ?=
PUSH ?=

export ATHD_TOOLS := $(CURDIR)/.tools/bin
BUILD := .tools/build
FIGURES := $(CURDIR)/$(BUILD)/refresh.jsonl
STREAMS_FIGURES := $(CURDIR)/$(BUILD)/streams.jsonl
RUNTIME_FIGURES := $(CURDIR)/$(BUILD)/runtime.jsonl

# Where git cannot say which commit this is (an archive, somebody else's checkout), go build must not ask.
ifneq ($(shell git rev-parse HEAD >/dev/null 2>&1; echo $$?),0)
export GOFLAGS := $(GOFLAGS) -buildvcs=false
endif

SETUP := @command -v python3 >/dev/null || { echo "athd set-up: no python3 found; install python3" >&2; exit 1; }; tools/setup

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: demo-parts build ## watch an agent register, a user consent and an API answer, through a real Envoy (ARGS=--keep stays up)
	@$(BUILD)/athdemo --athd $(BUILD)/athd --envoy .tools/bin/envoy $(ARGS)

demo-parts:
	$(SETUP) go envoy

build: ## build the commands into .tools/build
	@mkdir -p $(BUILD)
	CGO_ENABLED=0 go build -o $(BUILD)/ ./cmd/...

test: setup lint scripts kubernetes gotests ## everything: set-up, lint, and all tests with the race detector on real parts

test-compose: ## docker-compose.yaml for real: build, up, the whole walk, restarts, down (brings an engine along where none runs)
	$(SETUP) go
	@tools/testcompose

setup: ## make Envoy, redis-server, Chromium, the examples' packages, OAuth servers and golangci-lint available below .tools
	@echo "== set-up: Envoy, Redis, Chromium, the examples' packages, OAuth servers and golangci-lint, from PATH or fetched into .tools =="
	$(SETUP) toolchain envoy redis chromium clients oauth lint

lint: ## gofmt, golangci-lint (.golangci.yaml), go vet and go mod tidy change and find nothing
	@echo "== lint: gofmt, golangci-lint, go mod tidy =="
	@tools/setup go lint >/dev/null
	@out=$$(gofmt -l .); [ -z "$$out" ] || { echo "gofmt would change:"; echo "$$out"; exit 1; }
	@case ",$${ATHD_TEST_SKIP:-}," in *,lint,*) echo "golangci-lint is left out (ATHD_TEST_SKIP)";; *) $(ATHD_TOOLS)/golangci-lint run ./...;; esac
	@go -C test/docs/monitoring/promread vet ./...
	@go mod tidy -diff || { echo "go.mod or go.sum is not what go mod tidy would write"; exit 1; }

schema: ## write config/schema again, after a change of a key of athd.yaml or providers.json or of its documentation
	go generate ./config/schema

scripts: ## tests of the scripts in tools
	@echo "== scripts: tests of the tools; every rule has a test that names it =="
	@python3 -m unittest discover -b -s tools -p '*_test.py'

kubernetes: ## render deploy/kubernetes and read it by Kubernetes' own types, in a module of its own
	@echo "== kubernetes: deploy/kubernetes, rendered and read strictly =="
	@go -C test/docs/kubernetes vet ./... && go -C test/docs/kubernetes test -count=1 ./...

gotests: ## all Go tests (after make setup)
	@units=$$(go list ./... | grep -vE '^[^/]+/[^/]+/[^/]+/test(/|$$)'); \
	tools/gotest -race -vet=off -timeout $(TIMEOUT) \
	  --stage 'unit: each package, fuzz seeds, the store suite on miniredis and on redis-server; race detector' $$units \
	  --stage 'end to end: through a real Envoy, Redis and Chromium; race detector' -count=1 ./test/...

test-ext-proc: setup ## the whole walk where ext_proc judges, streams are watched and replies checked (make test walks each mode so, all traps and all hostile requests)
	ATHD_STAGE_ENVOY='filter: ext_proc, streams: watched, replies: checked' go test -count=1 -timeout $(TIMEOUT) ./test/e2e/walk

test-oauth: setup ## the table of OAuth servers for those that take a while: Dex, Keycloak, Spring and Hydra (SERVERS=dex; wants a JDK, mvn and a C compiler)
	$(SETUP) toolchain $(SERVERS)
	ATHD_OAUTH_SERVERS='$(SERVERS)' go test -count=1 -timeout 20m -tags more -run '^Test(More|ProvidersCheckAtMore)' -v ./test/e2e/oauthservers

test-mesh: setup ## take agents through what Envoy Gateway and Istio themselves make of deploy (builds both: 20 minutes, 5 GB)
	@mkdir -p $(BUILD)
	go -C test/e2e/mesh/generators/envoygateway build -o $(CURDIR)/$(BUILD)/egctl github.com/envoyproxy/gateway/cmd/egctl
	go -C test/e2e/mesh/generators/istio build -o $(CURDIR)/$(BUILD)/ . istio.io/istio/istioctl/cmd/istioctl
	ATHD_EGCTL=$(CURDIR)/$(BUILD)/egctl ATHD_ISTIO=$(CURDIR)/$(BUILD)/istio ATHD_ISTIOCTL=$(CURDIR)/$(BUILD)/istioctl \
	  go test -count=1 -timeout $(TIMEOUT) -tags generators -run '^Test(EnvoyGateway|Istio)' -v ./test/e2e/mesh

vulnerabilities: ## known vulnerabilities in what is linked and called (asks the Go project's list)
	go run golang.org/x/vuln/cmd/govulncheck@v1.9.0 ./...

# What makes releases, each in a module of its own: hundreds of modules that athd has nothing to do with.
.tools/release/goreleaser: tools/release/goreleaser/go.mod tools/release/goreleaser/go.sum
	CGO_ENABLED=0 GOFLAGS= go -C tools/release/goreleaser build -trimpath -ldflags '-s -w' -o $(CURDIR)/$@ github.com/goreleaser/goreleaser/v2
	@touch $@

.tools/release/syft: tools/release/syft/go.mod tools/release/syft/go.sum
	version=$$(go -C tools/release/syft list -m -f '{{.Version}}' github.com/anchore/syft); \
	CGO_ENABLED=0 GOFLAGS= go -C tools/release/syft build -trimpath -ldflags "-s -w -X main.version=$$version" -o $(CURDIR)/$@ github.com/anchore/syft/cmd/syft
	@touch $@

release-tools: .tools/release/goreleaser .tools/release/syft ## build what makes releases (10 minutes, the first time)

release-check: .tools/release/goreleaser ## .goreleaser.yaml by goreleaser itself, the workflows by actionlint
	@.tools/release/goreleaser check
	@go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12 -shellcheck= -pyflakes=

release-snapshot: release-check .tools/release/syft ## a release of this commit, built and looked at and published nowhere (VERSION=v0.1.0)
	@tools/snapshot .tools/release/goreleaser .tools/release/syft $(BUILD)/release $(VERSION)

release-images: ## build athd's and athctl's images for linux/amd64 and linux/arm64 with buildx (VERSION=v0.1.0; PUSH=1 publishes them)
	@[ -n "$(VERSION)" ] || { echo "VERSION=v0.1.0 is missing" >&2; exit 1; }
	@mkdir -p $(BUILD)
	@for image in athd athctl; do \
	  docker buildx build . --target $$image --platform linux/amd64,linux/arm64 --provenance=mode=max --sbom=true \
	    --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) \
	    --label org.opencontainers.image.created=$$(TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ) \
	    --tag ghcr.io/athd/$$image:$(VERSION) --metadata-file $(BUILD)/$$image.image.json $(if $(PUSH),--push); \
	done

release: ## prepare a release in this tree: CHANGELOG.md and deploy/kubernetes name VERSION; docs/releasing.md goes on from there
	@tools/changelog release '$(VERSION)'

rules: setup ## each rule of docs/protocol.md with the tests that prove it, and how they went
	@echo "== rules: all tests, and what each rule of docs/protocol.md owes to them =="
	@tools/rules -vet=off -timeout $(TIMEOUT) ./...

mutants: ## break rules one at a time and show that the tests which name them fail
	@echo "== mutants: test/mutants, applied to copies of the tree =="
	@tools/mutants

fuzz: ## let each fuzz target, or FUZZ=name only, search for FUZZTIME (10s)
	$(SETUP) go envoy
	@tools/fuzz $(FUZZTIME) $(FUZZ)

test-days: setup ## 90 days of 24 hours of 2 s each on one consent, on redis-server with npm oidc-provider (72 minutes; ATHD_DAYS_HOUR=1s ATHD_DAYS=30)
	ATHD_DAYS_HOUR=$(or $(ATHD_DAYS_HOUR),2s) ATHD_DAYS=$(or $(ATHD_DAYS),90) go test -count=1 -timeout 100m -v ./test/e2e/days

test-streams: setup ## exchanges of every kind, and everything that ends them, at either of two athd: when and how their clients saw the end
	ATHD_STREAMS_WHOLE=1 go test -count=1 -timeout 30m -v ./test/e2e/streams

test-upgrade: ## athd of older commits beside this one on one Redis, and on the other side of Envoy: tables of what each answers (BASE=a commit, f1b7ae5, 998e869 and 058ce80 by default)
	$(SETUP) go envoy redis
	@older=; for base in $(or $(BASE),f1b7ae5 998e869 058ce80); do \
		commit=$$(git rev-parse --verify --quiet --end-of-options "$$base^{commit}") || { echo "test-upgrade: there is no commit $$base here; in a shallow clone, git fetch --unshallow brings it" >&2; exit 1; }; \
		name=$${commit:0:7}; tree=$(CURDIR)/$(BUILD)/older/$$name; rm -rf "$$tree"; mkdir -p "$$tree"; \
		git archive "$$commit" | tar -x -C "$$tree"; \
		(cd "$$tree" && CGO_ENABLED=0 go build -buildvcs=false -o "$$tree.athd" ./cmd/athd); \
		rm -rf "$$tree"; older="$$older $$name=$$tree.athd"; \
	done; \
	ATHD_OLDER="$$older" go test -count=1 -timeout 10m -tags older -v -run '^TestAnOlderAthd' ./test/e2e/replicas

chaos-refresh: setup ## take athd, Redis and providers away while users' tokens are refreshed, and print every figure with its goal (ROUNDS=n)
	@mkdir -p $(BUILD) && rm -f $(FIGURES)
	@status=0; export ATHD_FIGURES=$(FIGURES); \
	go test -count=1 -timeout 10m -v -run '^TestOneCallForAllReplicas$$' ./vault || status=1; \
	ATHD_CHAOS_ROUNDS=$(ROUNDS) go test -count=1 -timeout 60m -v -run '^TestChaosRefresh$$' ./vault || status=1; \
	ATHD_ROUNDS=$(PROCESS_ROUNDS) go test -count=1 -timeout 30m -parallel 4 -v ./test/e2e/refresh || status=1; \
	go test -count=1 -vet=off -timeout 10m -run '^$$' -bench '^BenchmarkBesideRefresh$$' -benchtime 1x ./test/bench -pin=false || status=1; \
	go run ./test/harness/figures/print refresh $(FIGURES) || status=1; exit $$status

bench: setup ## measure what athd costs on the way of a request, through a real Envoy (BASE=a commit or another athd; ARGS='-rounds 41 -json figures.json')
	@go test -vet=off -run '^$$' -bench '^BenchmarkRequest$$' -benchtime 1x -timeout 30m ./test/bench $(if $(BASE),-base '$(BASE)') $(ARGS)

bench-flood: setup ## flood each endpoint of the handshake and measure decisions meanwhile (ARGS='-door register')
	@go test -vet=off -run '^$$' -bench '^BenchmarkFlood$$' -benchtime 1x -timeout 30m ./test/bench -pin=false $(ARGS)

bench-runtime: setup ## how soon a provider that is added, changed or removed is so through every Envoy, with 10,000 others and calls beside
	@mkdir -p $(BUILD) && rm -f $(RUNTIME_FIGURES)
	@status=0; export ATHD_FIGURES=$(RUNTIME_FIGURES) ATHD_RUNTIME_FULL=1; \
	go test -count=1 -vet=off -timeout 20m -v ./test/e2e/addprovider || status=1; \
	go run ./test/harness/figures/print runtime $(RUNTIME_FIGURES) || status=1; exit $$status

bench-streams: setup ## how soon streams end, and what 10,000 of them cost athd, Envoy and the calls beside; each figure with its goal
	@mkdir -p $(BUILD) && rm -f $(STREAMS_FIGURES)
	@status=0; export ATHD_FIGURES=$(STREAMS_FIGURES) ATHD_STREAMS_FULL=1; \
	go test -count=1 -vet=off -timeout 20m -v -run '^(TestHowSoonStreamsEnd|TestManyIdleStreams|TestCallsBesideManyIdleStreams)$$' ./test/e2e/streams || status=1; \
	go run ./test/harness/figures/print streams $(STREAMS_FIGURES) || status=1; exit $$status

clean: ## remove what was built
	rm -rf $(BUILD)
	find tools -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## remove the fetched parts too
	rm -rf .tools
