package compose

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
)

func TestNothingIsPublishedButEnvoyOnLoopback(t *testing.T) {
	for name, s := range project(t).Services {
		if name != "envoy" {
			if len(s.Ports) > 0 || s.NetworkMode == "host" {
				t.Errorf("%s: %v %s", name, s.Ports, s.NetworkMode)
			}
			continue
		}
		if len(s.Ports) != 1 || s.Ports[0].HostIP != "127.0.0.1" || s.Ports[0].Published != "8080" || s.Ports[0].Target != 8080 {
			t.Errorf("envoy: %+v", s.Ports)
		}
	}
}

func TestServicesAreHardened(t *testing.T) {
	user := regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`)
	for name, s := range project(t).Services {
		t.Run(name, func(t *testing.T) {
			if !s.ReadOnly {
				t.Error("its file system can be written to")
			}
			if !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.CapAdd) > 0 || s.Privileged {
				t.Errorf("capabilities: drop %v, add %v", s.CapDrop, s.CapAdd)
			}
			if !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
				t.Errorf("security_opt: %v", s.SecurityOpt)
			}
			if !user.MatchString(s.User) {
				t.Errorf("user %q is no number, or root", s.User)
			}
			if s.Pid != "" || s.Ipc != "" || len(s.Devices) > 0 || len(s.GroupAdd) > 0 {
				t.Error("it shares more than it needs")
			}
		})
	}
}

// A service that stays says whether it is well, and who needs it waits for
// that; one that ends is waited for to its end.
func TestHealthAndOrder(t *testing.T) {
	p := project(t)
	for name, s := range p.Services {
		healthy := s.HealthCheck != nil && !s.HealthCheck.Disable
		if healthy == once(s) {
			t.Errorf("%s: restart %q, health check %v", name, s.Restart, healthy)
		}
		for other, d := range s.DependsOn {
			want := types.ServiceConditionHealthy
			if once(p.Services[other]) {
				want = types.ServiceConditionCompletedSuccessfully
			}
			if d.Condition != want {
				t.Errorf("%s depends on %s: %s, want %s", name, other, d.Condition, want)
			}
		}
	}
	for _, pair := range [][2]string{{"envoy", "athd"}, {"envoy", "envoy-config"}, {"athd", "redis"}, {"athd", "secrets"}, {"redis", "secrets"}, {"ready", "envoy"}} {
		if _, ok := p.Services[pair[0]].DependsOn[pair[1]]; !ok {
			t.Errorf("%s does not wait for %s", pair[0], pair[1])
		}
	}
}

// Who reaches whom: Redis only athd, what is behind Envoy only Envoy and athd,
// and an agent nothing but Envoy, and athd's way to it.
func TestComposeNetworksIsolateAgents(t *testing.T) {
	p := project(t)
	members := map[string][]string{}
	for name, s := range p.Services {
		for network := range s.Networks {
			members[network] = append(members[network], name)
		}
		if len(s.Networks) == 0 && s.NetworkMode != "none" {
			t.Errorf("%s is on the default network", name)
		}
	}
	for network, want := range map[string][]string{
		"store": {"athd", "redis"},
		"apis":  {"athd", "envoy", "login", "shop"},
		"front": {"agent", "agent-gateway", "athd", "envoy", "operator", "ready"},
	} {
		slices.Sort(members[network])
		if !slices.Equal(members[network], want) {
			t.Errorf("%s: %v, want %v", network, members[network], want)
		}
		if internal := p.Networks[network].Internal; internal != (network != "front") {
			t.Errorf("%s: internal is %v", network, internal)
		}
	}
}

// What is mounted is there; files of the checkout and secrets cannot be
// written to; and a volume of secrets is for those who must know them.
func TestComposeMountsOnlyWhatIsNeeded(t *testing.T) {
	p := project(t)
	knows := map[string][]string{}
	var audited []string
	for name, s := range p.Services {
		for _, v := range s.Volumes {
			switch v.Type {
			case types.VolumeTypeBind:
				if info, err := os.Stat(v.Source); err != nil || !info.Mode().IsRegular() || info.Mode()&0o004 == 0 {
					t.Errorf("%s mounts %s: not a file that its user can read", name, v.Source)
				}
				if !v.ReadOnly || !strings.Contains(v.Source, "/deploy/compose/") {
					t.Errorf("%s mounts %s: writable, or from somewhere else", name, v.Source)
				}
			case types.VolumeTypeVolume:
				if v.Source == "athd-audit" {
					audited = append(audited, name+":"+v.Target)
				}
				if !strings.HasSuffix(v.Source, "-secrets") {
					continue
				}
				knows[v.Source] = append(knows[v.Source], name)
				if v.ReadOnly == (name == "secrets") {
					t.Errorf("%s mounts %s: read-only is %v", name, v.Source, v.ReadOnly)
				}
			default:
				t.Errorf("%s mounts %s, a %s", name, v.Source, v.Type)
			}
		}
	}
	for volume, want := range map[string][]string{
		"athd-secrets":     {"athd", "envoy-config", "secrets"},
		"redis-secrets":    {"redis", "secrets"},
		"login-secrets":    {"login", "secrets"},
		"shop-secrets":     {"secrets", "shop"},
		"operator-secrets": {"operator", "secrets"},
	} {
		slices.Sort(knows[volume])
		if !slices.Equal(knows[volume], want) {
			t.Errorf("%s: %v, want %v", volume, knows[volume], want)
		}
		delete(knows, volume)
	}
	// N-4: athd alone, and where its configuration says.
	if !slices.Equal(audited, []string{"athd:/var/log/athd"}) {
		t.Errorf("audit events: %v", audited)
	}
	if text, err := os.ReadFile("../../../deploy/compose/athd.yaml"); err != nil || !strings.Contains(string(text), "audit: {file: /var/log/athd/") {
		t.Errorf("athd.yaml does not say where audit events go: %v", err)
	}
	if len(knows) > 0 {
		t.Errorf("nobody thought of %v", knows)
	}
}

func TestImagesArePinned(t *testing.T) {
	pinned := regexp.MustCompile(`^[a-z/]+:v?\d+\.\d+\.\d+$`)
	for name, s := range project(t).Services {
		if program(s) != "" { // ours: built here, and never taken from somewhere else
			if s.PullPolicy != types.PullPolicyNever {
				t.Errorf("%s: %s may be pulled", name, s.Image)
			}
		} else if !pinned.MatchString(s.Image) {
			t.Errorf("%s: %s", name, s.Image)
		}
	}
	dockerfile := read(t, "Dockerfile")
	for _, from := range regexp.MustCompile(`(?m)^FROM (?:--platform=\S+ )?(\S+)`).FindAllStringSubmatch(dockerfile, -1) {
		if from[1] != "scratch" && !pinned.MatchString(from[1]) {
			t.Errorf("Dockerfile: FROM %s", from[1])
		}
	}
	// One Envoy for demo, tests and compose.
	version := regexp.MustCompile(`(?m)^VERSION = "(.+)"`).FindStringSubmatch(read(t, "tools/parts/envoy.py"))
	if got := project(t).Services["envoy"].Image; version == nil || got != "envoyproxy/envoy:v"+version[1] {
		t.Errorf("envoy: %s, tests have %v", got, version)
	}
}

// A target that the file builds is in the Dockerfile, and runs as nobody.
func TestImagesHoldOneProgramAndNoRoot(t *testing.T) {
	stages := map[string]string{}
	for _, stage := range strings.Split("\n"+read(t, "Dockerfile"), "\nFROM ")[1:] {
		head, body, _ := strings.Cut(stage, "\n")
		base, name, _ := strings.Cut(head, " AS ")
		if base == "scratch" {
			stages[name] = body
		}
	}
	for name, s := range project(t).Services {
		if s.Build == nil {
			continue
		}
		body, ok := stages[s.Build.Target]
		if !ok {
			t.Errorf("%s: no target %q", name, s.Build.Target)
			continue
		}
		if !strings.Contains(body, "\nUSER 65532:65532\n") || !strings.Contains(body, `ENTRYPOINT ["/`+program(s)+`"]`) {
			t.Errorf("target %s:\n%s", s.Build.Target, body)
		}
	}
	if !strings.Contains(stages["athd"], `HEALTHCHECK `) || !strings.Contains(stages["athd"], `CMD ["/athd", "health"]`) {
		t.Error("athd's image has no health check of its own")
	}
}

func TestNoSecretIsWrittenDown(t *testing.T) {
	suspect := regexp.MustCompile(`(?i)(password|passwd|requirepass|client_secret|token|keyset)["']?\s*[:= ]\s*["']?[^\s"'{\[]`)
	known := regexp.MustCompile(`client_secret_file|token_file|TOKEN_FILE|token_endpoint|--secret-file=|_TOKEN_FILE`)
	for _, name := range []string{"docker-compose.yaml", "Dockerfile", "deploy/compose/athd.yaml", "deploy/compose/providers.json", "deploy/compose/redis.conf"} {
		for i, line := range lines(read(t, name)) {
			code, _, _ := strings.Cut(line, "# ")
			if strings.HasPrefix(strings.TrimSpace(code), "#") {
				continue
			}
			if suspect.MatchString(code) && !known.MatchString(code) || regexp.MustCompile(`://[^/\s]+@`).MatchString(code) {
				t.Errorf("%s:%d: %s", name, i+1, line)
			}
		}
	}
	for name, s := range project(t).Services {
		for key := range s.Environment {
			if key != "ATHCTL_SERVER" && key != "ATHCTL_TOKEN_FILE" {
				t.Errorf("%s: nobody thought of $%s", name, key)
			}
		}
		if len(s.EnvFiles) > 0 {
			t.Errorf("%s reads %v", name, s.EnvFiles)
		}
	}
}

// Each command is one that its program understands to the last flag: with one
// flag more that it does not, that one is all that it complains of.
func TestCommandsAreUnderstood(t *testing.T) {
	tried := 0
	for name, s := range project(t).Services {
		if program(s) == "" || len(s.Command) == 0 {
			continue
		}
		tried++
		out, err := ours(t, t.TempDir(), program(s), append(slices.Clone(s.Command), "--no-such-flag")...)
		if err == nil || !strings.Contains(out, "no such flag: --no-such-flag") {
			t.Errorf("%s: %v: %v\n%s", name, s.Command, err, out)
		}
	}
	if tried < 7 {
		t.Errorf("only %d commands were tried", tried)
	}
}
