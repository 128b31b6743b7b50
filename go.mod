module github.com/athd/athd

go 1.26.0

require (
	github.com/alicebob/miniredis/v2 v2.40.0 // the embedded store: a Redis work-alike in the process
	github.com/chromedp/cdproto v0.159.0 // tests: the types of what chromedp sends
	github.com/chromedp/chromedp v0.23.0 // tests: drives the real Chromium
	github.com/cncf/xds/go v0.0.0-20260202195803-dba9d589def2 // Envoy's API: the matchers that choose how a run-time API is spoken to
	github.com/compose-spec/compose-go/v2 v2.16.2 // tests: reads docker-compose.yaml as compose does
	github.com/coreos/go-oidc/v3 v3.21.0 // verifies providers' ID tokens (T-7)
	github.com/envoyproxy/go-control-plane/envoy v1.40.0 // Envoy's API: ext_authz and configuration
	github.com/failsafe-go/failsafe-go v0.9.8 // the circuit breaker before the store
	github.com/go-json-experiment/json v1.27.2 // what strangers send: no member twice, and a quarter of the cost of encoding/json; the mirror of encoding/json/v2
	github.com/golang-jwt/jwt/v5 v5.3.1 // attestations (A-1 to A-5)
	github.com/luikyv/go-oidc v0.25.0 // the demo's OAuth server; not linked into athd
	github.com/prometheus/client_golang v1.25.0 // /metrics
	github.com/redis/go-redis/v9 v9.23.0 // the store: standalone, Cluster, Sentinel
	github.com/rogpeppe/go-internal v1.16.0 // tests: testscript for the command lines
	github.com/santhosh-tekuri/jsonschema/v6 v6.0.3 // tests: what an editor says of a configuration, by the schemas of config/schema
	github.com/spf13/cobra v1.10.2 // command lines: completion, help, suggestions
	github.com/spf13/pflag v1.0.10 // the flags of those command lines: types of its errors
	github.com/tink-crypto/tink-go/v2 v2.9.0 // seals what is stored; keysets that rotate
	go.yaml.in/yaml/v4 v4.0.0 // athd.yaml: all faults at once, with line and column
	golang.org/x/net v0.62.0 // HTML forms of the demo's browser, DNS and HTTP/2 in tests, bounded listeners
	golang.org/x/oauth2 v0.37.0 // authorization URLs, PKCE and code exchange
	golang.org/x/sync v0.24.0 // one fetch in flight per identity document
	golang.org/x/sys v0.49.0 // tests: which processor runs what while make bench measures
	golang.org/x/time v0.16.0 // rate limits of the companion and of calls
	google.golang.org/genproto/googleapis/api v0.0.0-20260817212433-ac3dfec99bb1 // the condition of a guard in Envoy's configuration, as a parsed expression
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260817212433-ac3dfec99bb1 // the status in Envoy's CheckResponse
	google.golang.org/grpc v1.85.0 // the server that Envoy asks
	google.golang.org/protobuf v1.36.12 // messages of Envoy's API
)

require (
	cel.dev/expr v0.25.3 // indirect
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/bits-and-blooms/bitset v1.24.4 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/distribution/reference v0.5.0 // indirect
	github.com/docker/go-connections v0.4.0 // indirect
	github.com/docker/go-units v0.5.0 // indirect
	github.com/envoyproxy/protoc-gen-validate v1.3.3 // indirect
	github.com/go-jose/go-jose/v4 v4.1.4 // indirect
	github.com/go-viper/mapstructure/v2 v2.4.0 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/mattn/go-shellwords v1.0.12 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/opencontainers/go-digest v1.0.0 // indirect
	github.com/planetscale/vtprotobuf v0.6.1-0.20240319094008-0393e58bdf10 // indirect
	github.com/prometheus/client_model v0.6.3 // indirect
	github.com/prometheus/common v0.72.0 // indirect
	github.com/prometheus/procfs v0.22.0 // indirect
	github.com/sirupsen/logrus v1.10.1 // indirect
	github.com/xhit/go-str2duration/v2 v2.1.0 // indirect
	github.com/yuin/gopher-lua v1.1.1 // indirect
	go.uber.org/atomic v1.12.0 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	golang.org/x/tools v0.51.0 // indirect
)
