// Package doctor has what athctl doctor says of a real athd, Redis, Envoy and
// OAuth server: where all is well, and of each thing that is spoiled the cause
// and the cure.
package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athd/athd/internal/doctor"
	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/test/harness/reserve"
	"github.com/athd/athd/test/harness/stage"
)

var athctl string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "athctl-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	athctl = filepath.Join(dir, "athctl")
	out, err := exec.Command("go", "build", "-buildvcs=false", "-o", athctl, "github.com/athd/athd/cmd/athctl").CombinedOutput()
	code := 1
	if err == nil {
		code = m.Run()
	} else {
		fmt.Fprintf(os.Stderr, "building athctl: %v\n%s", err, out)
	}
	os.RemoveAll(dir)
	stage.RemoveBinary()
	os.Exit(code)
}

// A said is what one run printed.
type said struct {
	t        *testing.T
	code     int
	text     string // for people
	findings []doctor.Finding
}

// ask runs athctl doctor twice: for people and for programs.
func ask(t *testing.T, dir string, args ...string) said {
	t.Helper()
	run := func(args ...string) (stdout, stderr string, code int) {
		cmd := exec.CommandContext(t.Context(), athctl, append([]string{"doctor"}, args...)...)
		cmd.Dir = dir
		var o, e bytes.Buffer
		cmd.Stdout, cmd.Stderr = &o, &e
		if err := cmd.Run(); err != nil {
			if _, ok := errors.AsType[*exec.ExitError](err); !ok {
				t.Fatal(err)
			}
		}
		return o.String(), e.String(), cmd.ProcessState.ExitCode()
	}
	text, _, code := run(args...)
	out, stderr, again := run(append(args, "-o", "json")...)
	s := said{t: t, code: code, text: text}
	var body struct {
		Findings []doctor.Finding `json:"findings"`
		Count    doctor.Count     `json:"count"`
	}
	if err := json.Unmarshal([]byte(out), &body); err != nil {
		t.Fatalf("%v: %s%s", err, out, stderr)
	}
	if s.findings = body.Findings; again != code || (body.Count.Faults > 0) != (code == 1) {
		t.Errorf("exit code %d, for programs %d, of %+v", code, again, body.Count)
	}
	return s
}

// one returns the finding with this id and status.
func (s said) one(id string, status doctor.Status) doctor.Finding {
	s.t.Helper()
	for _, f := range s.findings {
		if f.ID == id && f.Status == status {
			return f
		}
	}
	s.t.Errorf("%s is no %s:\n%s", id, status, s.text)
	return doctor.Finding{}
}

// wrong wants a fault or warning with this cause and cure, and both on the
// page that people read.
func (s said) wrong(id string, status doctor.Status, cause, cure string) {
	s.t.Helper()
	there := slices.ContainsFunc(s.findings, func(f doctor.Finding) bool {
		return f.ID == id && f.Status == status && strings.Contains(f.Cause, cause) && strings.Contains(f.Cure, cure)
	})
	if !there {
		f := s.one(id, status)
		s.t.Errorf("%s:\ncause %s\ncure  %s\nwant %q and %q", id, f.Cause, f.Cure, cause, cure)
	}
	if !strings.Contains(s.text, cause) || !strings.Contains(s.text, cure) {
		s.t.Errorf("people read:\n%s", s.text)
	}
	if want := map[doctor.Status]int{doctor.Fault: 1}[status]; s.code < want {
		s.t.Errorf("exit code %d", s.code)
	}
}

// faults lists the ids of all faults.
func (s said) faults() (ids []string) {
	for _, f := range s.findings {
		if f.Status == doctor.Fault {
			ids = append(ids, f.ID)
		}
	}
	return ids
}

// only wants no other fault.
func (s said) only(id string) {
	s.t.Helper()
	if got := s.faults(); len(got) != 1 || got[0] != id {
		s.t.Errorf("faults are %q, want %q alone:\n%s", got, id, s.text)
	}
}

// spoiled writes the stage's athd.yaml with texts replaced, beside it.
func spoiled(t *testing.T, s *stage.Stage, pairs ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.Dir, "athd.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.NewReplacer(pairs...).Replace(string(text))
	if changed == string(text) {
		t.Fatalf("%q is not in athd.yaml", pairs)
	}
	name := strings.ReplaceAll(t.Name()[strings.LastIndexByte(t.Name(), '/')+1:], " ", "-") + ".yaml"
	if err := os.WriteFile(filepath.Join(s.Dir, name), []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// closed is an address on which nobody listens.
func closed(t *testing.T) string { return reserve.Addr(t) }

func noErr(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until polls until nothing is missing.
func until(t *testing.T, missing func() string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		now := missing()
		if now == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(now)
		}
	}
}

func TestDoctor(t *testing.T) {
	s := stage.Start(t, stage.Options{Approval: "  default: review"})
	envoy := s.Envoy.AdminURL()
	redis, ctx := s.Redis.Client(), t.Context()
	with := func(t *testing.T, file string, args ...string) said {
		t.Helper()
		return ask(t, s.Dir, append([]string{"--config", file, "--envoy", envoy}, args...)...)
	}

	t.Run("all is well", func(t *testing.T) {
		d := with(t, "athd.yaml")
		if d.code != 0 || len(d.faults()) > 0 {
			t.Errorf("exit code %d\n%s", d.code, d.text)
		}
		for _, id := range []string{
			"config.load", "redis.reach", "redis.login", "redis.role", "redis.rights", "redis.write", "redis.keyset", "redis.server", "redis.subscribe",
			"athd.ready", "envoy.athd", "envoy.config", "public.leads", "public.providers", "consent.pages",
			"providers.gallery.issuer", "providers.gallery", "providers.shop.issuer", "providers.shop", "clock.agree", "agents.pending", "refusals.last",
		} {
			d.one(id, doctor.OK)
		}
		for _, secret := range []string{s.Redis.Password(), stage.Secret, stage.AdminKey} {
			if strings.Contains(d.text, secret) {
				t.Errorf("%q is printed:\n%s", secret, d.text)
			}
		}
	})
	t.Run("a wrong password of Redis", func(t *testing.T) {
		d := with(t, spoiled(t, s, s.Redis.Password(), "not-the-password"))
		d.only("redis.login")
		d.wrong("redis.login", doctor.Fault, "the server does not accept the store's user and password", "in athd.yaml, correct store.url")
		d.one("redis.role", doctor.NotAsked)
		if strings.Contains(d.text, "not-the-password") {
			t.Errorf("the password is printed:\n%s", d.text)
		}
	})
	t.Run("a demoted Redis", func(t *testing.T) {
		other := realredis.Start(t)
		host, port, err := net.SplitHostPort(other.Addr())
		noErr(t, err)
		noErr(t, redis.ReplicaOf(ctx, host, port).Err())
		defer func() {
			noErr(t, redis.ReplicaOf(ctx, "NO", "ONE").Err())
			until(t, func() string {
				if status, body := s.Athd.Get("/readyz"); status != http.StatusOK {
					return body
				}
				return ""
			})
		}()
		until(t, func() string {
			if status, _ := s.Athd.Get("/readyz"); status == http.StatusOK {
				return "athd is ready"
			}
			return ""
		})
		d := with(t, "athd.yaml")
		d.wrong("redis.role", doctor.Fault, "is a replica", "in athd.yaml, store.url: the address of the master, which it says is "+other.Addr())
		d.wrong("athd.ready", doctor.Fault, "is a replica", "see what is said of Redis above")
		d.one("redis.write", doctor.NotAsked)
	})
	t.Run("a command that the ACL lacks", func(t *testing.T) {
		const password = "password-of-the-acl-user"
		rights := strings.Fields("ACL SETUSER athd reset on >" + password + " ~ath:* &ath:* +ping +get +mget +set +del +exists +pttl +pexpire +zadd +zrem" +
			" +zremrangebyscore +zcard +scan +eval +evalsha +client|setname +role +wait +publish +subscribe +info +config|get")
		acl := make([]any, len(rights))
		for i, r := range rights {
			acl[i] = r
		}
		noErr(t, redis.Do(ctx, acl...).Err())
		file := spoiled(t, s, "redis://:"+s.Redis.Password()+"@", "redis://athd:"+password+"@")
		d := with(t, file)
		d.only("redis.rights")
		d.wrong("redis.rights", doctor.Fault, "+zrange", "redis-cli ACL SETUSER athd +zrange, ")
		// The cure, as it is printed, is one.
		cure, _, _ := strings.Cut(strings.TrimPrefix(d.one("redis.rights", doctor.Fault).Cure, "redis-cli "), ",")
		var command []any
		for word := range strings.FieldsSeq(cure) {
			command = append(command, word)
		}
		noErr(t, redis.Do(ctx, command...).Err())
		if d := with(t, file); d.code != 0 {
			t.Errorf("after the cure:\n%s", d.text)
		}
	})
	t.Run("another keyset", func(t *testing.T) {
		stage.NewKeyset(t, filepath.Join(s.Dir, "other.json"))
		d := with(t, spoiled(t, s, "keyset_file: keyset.json", "keyset_file: other.json"))
		d.only("redis.keyset")
		d.wrong("redis.keyset", doctor.Fault, "written with another keyset", "in athd.yaml, store.keyset_file: the keyset that this Redis was written with")
	})
	t.Run("an issuer that is away", func(t *testing.T) {
		d := with(t, spoiled(t, s, s.Issuer, "http://"+closed(t)))
		d.wrong("providers.shop.issuer", doctor.Fault, "the OAuth server is away: ", "start it, or correct issuer of shop in ")
		d.wrong("providers.shop.token", doctor.Fault, "nothing listens at ", "start the server there; or correct token_endpoint of shop in ")
		for _, id := range d.faults() {
			if !strings.HasPrefix(id, "providers.shop.") {
				t.Errorf("%s is a fault, too", id)
			}
		}
	})
	t.Run("an Envoy with a spoiled configuration", func(t *testing.T) {
		text, stderr, err := stage.Run(t, s.Dir, "bootstrap", "--config", "athd.yaml")
		if err != nil {
			t.Fatal(stderr)
		}
		_, port, err := net.SplitHostPort(s.Host())
		noErr(t, err)
		text = strings.ReplaceAll(text, "port_value: "+port, "port_value: 0")
		bad := regexp.MustCompile(`(?m)^( *)status_on_error:`).ReplaceAllString(text, "${1}failure_mode_allow: true\n${1}status_on_error:")
		if bad == text {
			t.Fatal("nothing was spoiled")
		}
		other := realenvoy.Start(t, []byte(bad))
		d := ask(t, s.Dir, "--config", "athd.yaml", "--envoy", other.AdminURL())
		d.only("envoy.config")
		d.wrong("envoy.config", doctor.Fault, "failure_mode_allow", "athd bootstrap --config athd.yaml prints it all")
	})
	t.Run("a clock that is off at an OAuth server", func(t *testing.T) {
		liar := startLiar(t)
		d := with(t, spoiled(t, s, s.Issuer+"/userinfo", liar+"/userinfo"))
		d.wrong("clock.agree", doctor.Warning, " ahead, while ", "synchronise the clock of "+strings.TrimPrefix(liar, "http://"))
		if d.code != 0 {
			t.Errorf("exit code %d", d.code)
		}
	})
	t.Run("what Redis may evict, and a full one", func(t *testing.T) {
		noErr(t, redis.ConfigSet(ctx, "maxmemory-policy", "allkeys-lru").Err())
		d := with(t, "athd.yaml")
		d.wrong("redis.evicts", doctor.Warning, "maxmemory-policy allkeys-lru", "redis-cli CONFIG SET maxmemory-policy noeviction")
		noErr(t, redis.ConfigSet(ctx, "maxmemory-policy", "noeviction").Err())
		noErr(t, redis.ConfigSet(ctx, "maxmemory", "1").Err())
		defer func() { noErr(t, redis.ConfigSet(ctx, "maxmemory", "0").Err()) }()
		d = with(t, "athd.yaml")
		d.only("redis.write")
		d.wrong("redis.write", doctor.Fault, "memory is full", "redis-cli CONFIG SET maxmemory BYTES")
	})
	t.Run("a Redis that is away", func(t *testing.T) {
		d := with(t, spoiled(t, s, s.Redis.Addr(), closed(t)))
		d.only("redis.reach")
		d.wrong("redis.reach", doctor.Fault, "nothing listens at the store's address", "correct store.url in athd.yaml")
	})
	t.Run("streams under watch", func(t *testing.T) {
		file := spoiled(t, s, "envoy: {listen:", "envoy: {streams: watched, listen:")
		d := with(t, file)
		d.only("envoy.config")
		d.wrong("envoy.config", doctor.Fault, "no filter tells athd of long exchanges, which it is to watch", "athd bootstrap --config "+file+" prints it all")

		text, stderr, err := stage.Run(t, s.Dir, "bootstrap", "--config", file)
		if err != nil {
			t.Fatal(stderr)
		}
		_, port, err := net.SplitHostPort(s.Host())
		noErr(t, err)
		text = strings.ReplaceAll(text, "port_value: "+port, "port_value: 0")
		d = ask(t, s.Dir, "--config", file, "--envoy", realenvoy.Start(t, []byte(text)).AdminURL())
		d.one("envoy.config", doctor.OK)
		d.one("envoy.athd", doctor.OK)

		// Where athd hears of streams, there is none.
		at := strings.LastIndex(text, "/authz.sock")
		d = ask(t, s.Dir, "--config", file, "--envoy", realenvoy.Start(t, []byte(text[:at]+"/nobody.sock"+text[at+len("/authz.sock"):])).AdminURL())
		d.wrong("envoy.athd", doctor.Fault, "cluster athd_streams: Envoy finds no athd that is healthy", "start the new one first")
	})
	t.Run("a configuration with a fault", func(t *testing.T) {
		d := with(t, spoiled(t, s, "consent: page", "consent: paper"))
		d.wrong("config.load", doctor.Fault, ".yaml:", "correct that line; athd validate --config ")
		d.one("redis.all", doctor.NotAsked)
	})
	t.Run("from outside", func(t *testing.T) {
		d := ask(t, s.Dir, "--server", s.Public, "--token-file", "admin.token", "--envoy", envoy)
		if d.code != 0 {
			t.Errorf("exit code %d\n%s", d.code, d.text)
		}
		d.one("redis.reach", doctor.NotAsked)
		d.one("athd.ready", doctor.NotAsked)
		for _, id := range []string{"envoy.athd", "envoy.config", "public.leads", "consent.pages", "providers.gallery", "clock.agree", "agents.pending"} {
			d.one(id, doctor.OK)
		}
		d = ask(t, s.Dir, "--server", s.Public)
		d.one("agents.pending", doctor.NotAsked)
		d.one("public.leads", doctor.OK)
	})
	t.Run("what waits, and what was refused", func(t *testing.T) {
		a := s.NewAgent("waiting")
		_, err := s.Register(a, stage.Provider, "pictures:read")
		noErr(t, err)
		resp, err := http.Get(s.Public + "/ath/proxy/gallery/pictures/7?secret=of-the-query")
		noErr(t, err)
		resp.Body.Close()
		d := with(t, "athd.yaml")
		d.wrong("agents.pending", doctor.Warning, "1 agent waits for you: ", "athctl agents show ")
		d.wrong("refusals.last", doctor.Warning, "GET /ath/proxy/gallery/pictures/7 [dec_", "athctl explain GET /ath/proxy/gallery/pictures/7")
		if d.code != 0 || strings.Contains(d.text, "of-the-query") {
			t.Errorf("exit code %d\n%s", d.code, d.text)
		}
	})
	t.Run("athd is away", func(t *testing.T) {
		noErr(t, s.Athd.Stop())
		d := with(t, "athd.yaml")
		d.wrong("athd.ready", doctor.Fault, "athd does not listen at ", "athd serve --config athd.yaml")
		d.wrong("public.leads", doctor.Fault, "does not reach athd's listen.http", "start athd")
		d.one("agents.pending", doctor.NotAsked)
		d.one("consent.pages", doctor.NotAsked)
		s.Envoy.Stop()
		d = with(t, "athd.yaml")
		d.wrong("public.leads", doctor.Fault, "nothing listens at "+s.Public, "envoy -c envoy.yaml")
		d.wrong("envoy.reach", doctor.Fault, "cannot be asked", "start Envoy")
	})
}
