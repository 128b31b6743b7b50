package compose

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"

	"github.com/athd/athd/test/harness/locked"
)

// An earlier is docker-compose.yaml and the Kubernetes deployment of commit
// f1b7ae5, whose command lines have one dash before every flag, and a folder
// that stands for the file systems of their containers.
type earlier struct {
	dir      string
	services types.Services
	paths    *strings.Replacer
}

func newEarlier(t *testing.T) *earlier {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{"testdata/f1b7ae5/docker-compose.yaml"}, cli.WithProfiles([]string{"*"}), cli.WithDiscardEnvFile)
	if err != nil {
		t.Fatal(err)
	}
	p, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"secrets/athd", "secrets/redis", "secrets/login", "secrets/shop", "secrets/operator", "run/athd", "run/envoy", "etc/athd/config", "state", "agent"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../../secrets/athd", filepath.Join(dir, "etc/athd/secrets")); err != nil {
		t.Fatal(err)
	}
	return &earlier{dir: dir, services: p.Services, paths: strings.NewReplacer(
		"/run/login-secrets", dir+"/secrets/login", "/run/shop-secrets", dir+"/secrets/shop", "/run/operator-secrets", dir+"/secrets/operator",
		"/run/athd", dir+"/run/athd", "/run/envoy", dir+"/run/envoy", "/etc/athd", dir+"/etc/athd", "/state/", dir+"/state/",
		// Addresses, which a test must not choose.
		"=:9000", "=127.0.0.1:0", "=:9001", "=127.0.0.1:0", "=0.0.0.0:7777", "=127.0.0.1:0",
	)}
}

// command is what a service's container runs, with the folder in its paths.
func (e *earlier) command(t *testing.T, service string) []string {
	t.Helper()
	s, is := e.services[service]
	if !is {
		t.Fatalf("there is no service %s", service)
	}
	args := []string{program(s)}
	for _, arg := range s.Command {
		if arg == "/secrets" {
			arg = e.dir + arg
		}
		args = append(args, e.paths.Replace(arg))
	}
	return args
}

// file writes a configuration file of that commit, with the folder in it.
func (e *earlier) file(t *testing.T, from, to string, change ...string) {
	t.Helper()
	text := strings.NewReplacer(change...).Replace(e.paths.Replace(read(t, "config/testdata/f1b7ae5/"+from)))
	if err := os.WriteFile(filepath.Join(e.dir, to), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A ran is a program that runs or ran.
type ran struct {
	cmd            *exec.Cmd
	stdout, stderr locked.Buffer
}

func (e *earlier) start(t *testing.T, args []string, env ...string) *ran {
	t.Helper()
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	r := &ran{cmd: exec.CommandContext(t.Context(), filepath.Join(bin, args[0]), args[1:]...)}
	r.cmd.Dir, r.cmd.Stdout, r.cmd.Stderr = filepath.Join(e.dir, "etc/athd"), &r.stdout, &r.stderr
	r.cmd.Env = append(os.Environ(), env...)
	r.cmd.Cancel = func() error { return r.cmd.Process.Signal(syscall.SIGTERM) }
	r.cmd.WaitDelay = 10 * time.Second
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return r
}

// end waits for the end, and wants this exit code.
func (r *ran) end(t *testing.T, code int) {
	t.Helper()
	if err := r.cmd.Wait(); r.cmd.ProcessState.ExitCode() != code {
		t.Errorf("%q: %v, want exit code %d\n%s%s", r.cmd.Args, err, code, &r.stdout, &r.stderr)
	}
}

// warns wants one warning, which names these, and nothing of it on standard output.
func (r *ran) warns(t *testing.T, old ...string) {
	t.Helper()
	lines := regexp.MustCompile(`(?m)^(athd|athctl|athdemo): warning: .*; the old spelling will be removed$`).FindAllString(r.stderr.String(), -1)
	if len(lines) != min(1, len(old)) || strings.Contains(r.stdout.String(), "warning") {
		t.Errorf("%q: want %d warning of %q\n%s", r.cmd.Args, min(1, len(old)), old, &r.stderr)
		return
	}
	for _, name := range old {
		if !strings.Contains(lines[0], name) {
			t.Errorf("%q: the warning does not name %s: %s", r.cmd.Args, name, lines[0])
		}
	}
}

// says waits until the program has said what matches, and returns the submatch.
func (r *ran) says(t *testing.T, b *locked.Buffer, pattern string) string {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if m := regexp.MustCompile(pattern).FindStringSubmatch(b.String()); m != nil {
			return m[len(m)-1]
		}
	}
	t.Fatalf("%q does not say %s:\n%s%s", r.cmd.Args, pattern, &r.stdout, &r.stderr)
	return ""
}

// stop ends a program that serves, and wants it to end well.
func (r *ran) stop(t *testing.T) {
	t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	r.end(t, 0)
}

// check is the health check of a service, asked of where the service is now.
func (e *earlier) check(t *testing.T, service, was, is string) *ran {
	t.Helper()
	args := append([]string{}, e.services[service].HealthCheck.Test[1:]...)
	args[0] = filepath.Base(args[0])
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], was, is)
	}
	r := e.start(t, args)
	r.end(t, 0)
	return r
}

// What containers of commit f1b7ae5 run goes on: each command line and each
// health check starts, with one line that says how it is written now.
func TestOldComposeFileStarts(t *testing.T) {
	e := newEarlier(t)

	secrets := e.start(t, e.command(t, "secrets"))
	secrets.end(t, 0)
	secrets.warns(t, "-dir is now --dir")
	if out := secrets.stdout.String(); !strings.Contains(out, "athdemo secrets: made ") {
		t.Errorf("secrets says %q", out)
	}

	e.file(t, "compose/providers.json", "etc/athd/providers.json")
	e.file(t, "compose/athd.yaml", "etc/athd/athd.yaml", "\nlisten:", "\ndrain_delay: 0s\nlisten:\n  admin: 127.0.0.1:0\n ")
	config := e.start(t, e.command(t, "envoy-config"))
	config.end(t, 0)
	config.warns(t, "-static has no effect")
	if text, err := os.ReadFile(filepath.Join(e.dir, "run/envoy/envoy.yaml")); err != nil || !bytes.Contains(text, []byte("athd_authz")) || config.stdout.String() != "" {
		t.Errorf("no configuration of Envoy: %v, %q", err, &config.stdout)
	}

	redis := miniredis.RunT(t)
	if err := os.WriteFile(filepath.Join(e.dir, "secrets/athd/redis.url"), []byte("redis://"+redis.Addr()+"/0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	athd := e.start(t, []string{"athd", "serve"}) // as its image says
	at := athd.says(t, &athd.stderr, `"msg":"serving".*"admin":"([^"]+)"`)
	health := e.start(t, []string{"athd", "health", "-admin", at})
	health.end(t, 0)
	health.warns(t, "-admin is now --admin")
	athd.stop(t)
	athd.warns(t)

	login := e.start(t, e.command(t, "login"))
	at = login.says(t, &login.stdout, `athdemo oauth: serving on (\S+)`)
	e.check(t, "login", "127.0.0.1:9000", at).warns(t, "-url is now --url")
	login.stop(t)
	login.warns(t, "-issuer is now --issuer", "-client-secret-file is now", "-state is now")

	shop := e.start(t, e.command(t, "shop"))
	at = shop.says(t, &shop.stdout, `athdemo shop: serving on (\S+)`)
	e.check(t, "shop", "127.0.0.1:9001", at).warns(t, "-url is now --url", "-status is now --status")
	shop.stop(t)
	shop.warns(t, "-listen is now --listen", "-introspect is now", "-secret-file is now")

	everything := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") }))
	defer everything.Close()
	args := e.command(t, "ready")
	for i := range args {
		args[i] = regexp.MustCompile(`http://[\w.:]+`).ReplaceAllString(args[i], everything.URL)
	}
	ready := e.start(t, args)
	ready.says(t, &ready.stdout, `Everything answers`)
	e.check(t, "ready", "http://athd.localhost:8080", everything.URL).warns(t, "-url is now --url")
	ready.stop(t)
	ready.warns(t, "-public is now --public", "-login is now --login")
}

// The old command lines of athctl get as far as asking the server.
func TestOldCommandLinesOfAthctlStart(t *testing.T) {
	e := newEarlier(t)
	asked := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		w.WriteHeader(http.StatusNotFound)
	}))
	defer server.Close()
	token := filepath.Join(e.dir, "secrets/operator/admin.token")
	if err := os.WriteFile(token, []byte("a-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for service, warns := range map[string][]string{
		"agent":         {`"athctl agent" is now "athctl try"`, "-agent-id is now --agent-id", "-serve is now", "-provider is now", "-call is now", "-consent-with is now", "-replace is now"},
		"agent-gateway": {`"athctl agent" is now "athctl try"`, "-call is now"},
		"operator":      nil,
	} {
		args := e.command(t, service)
		if service != "operator" {
			args = append(args, "-state", filepath.Join(e.dir, "agent", service+".json"))
		}
		r := e.start(t, args, "ATHCTL_SERVER="+server.URL, "ATHCTL_TOKEN_FILE="+token)
		r.end(t, 1) // the server is none
		r.warns(t, warns...)
		select {
		case path := <-asked:
			t.Logf("%s asks for %s", service, path)
		default:
			t.Errorf("%s did not come to ask:\n%s%s", service, &r.stdout, &r.stderr)
		}
		for len(asked) > 0 {
			<-asked
		}
	}
}

func TestOldKubernetesDeploymentStarts(t *testing.T) {
	e := newEarlier(t)
	makeSecrets(t, filepath.Join(e.dir, "secrets"))
	redis := miniredis.RunT(t)
	for name, text := range map[string]string{"redis.url": "redis://" + redis.Addr() + "/0", "shop.secret": "s", "gallery.secret": "s"} {
		if err := os.WriteFile(filepath.Join(e.dir, "secrets/athd", name), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var deployment struct {
		Spec struct {
			Template struct {
				Spec struct {
					Containers []struct{ Args []string }
				}
			}
		}
	}
	text, err := os.ReadFile("testdata/f1b7ae5/deployment.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &deployment); err != nil || len(deployment.Spec.Template.Spec.Containers) != 1 {
		t.Fatalf("%v %+v", err, deployment)
	}
	e.file(t, "kubernetes-istio/providers.json", "etc/athd/config/providers.json")
	e.file(t, "kubernetes-istio/athd.yaml", "etc/athd/config/athd.yaml", "\nlisten:", "\ndrain_delay: 0s\nlisten:",
		// On this machine only, where it is not needed.
		"0.0.0.0:9000", "127.0.0.1:0", "0.0.0.0:9001", "127.0.0.1:0", "0.0.0.0:9002", "127.0.0.1:0", "  insecure_grpc_without_client_auth: true\n", "")
	args := []string{"athd"}
	for _, arg := range deployment.Spec.Template.Spec.Containers[0].Args {
		args = append(args, e.paths.Replace(arg))
	}
	athd := e.start(t, args)
	at := athd.says(t, &athd.stderr, `"msg":"serving".*"admin":"([^"]+)"`)
	client := &http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get("http://" + at + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("readyz: %s", resp.Status)
	}
	athd.stop(t)
	athd.warns(t, "-config is now --config")
}
