package compose

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athd/athd/test/harness/realenvoy"
	"github.com/athd/athd/test/harness/realredis"
	"github.com/athd/athd/tokenstore"
)

// mounted is a folder as athd's container has it at /etc/athd: the files of
// deploy/compose and, in secrets, what the service secrets makes. The other
// services' secrets are beside it.
func mounted(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, service := range []string{"athd", "redis", "login", "shop", "operator"} {
		if err := os.Mkdir(filepath.Join(dir, service), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	makeSecrets(t, dir)
	for _, name := range []string{"athd.yaml", "providers.json"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(read(t, "deploy/compose/"+name)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("athd", filepath.Join(dir, "secrets")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func makeSecrets(t *testing.T, dir string) string {
	t.Helper()
	out, err := ours(t, dir, "athdemo", "secrets", "--dir", dir)
	if err != nil {
		t.Fatalf("athdemo secrets: %v\n%s", err, out)
	}
	return out
}

func TestAthdTakesItsConfiguration(t *testing.T) {
	out, err := ours(t, mounted(t), "athd", "validate")
	if err != nil || !strings.Contains(out, "athd.yaml: ok: 1 provider (market), 2 apps (login, shop)") {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(out, "consent_url") { // S-5
		t.Errorf("the consent pages share their host with an app: %s", out)
	}
	for _, loud := range []string{"allow_http is on", "allow_private_hosts is on"} {
		if !strings.Contains(out, loud) {
			t.Errorf("nobody is warned: %s", loud)
		}
	}
}

// What the service envoy-config writes is what Envoy takes, and fits what the
// file publishes and shares.
func TestEnvoyTakesItsConfiguration(t *testing.T) {
	dir := mounted(t)
	p := project(t)
	args := slices.Clone([]string(p.Services["envoy-config"].Command))
	to := slices.Index(args, "-o") + 1
	if args[to] != p.Services["envoy"].Command[1] {
		t.Errorf("envoy-config writes %s, Envoy reads %s", args[to], p.Services["envoy"].Command[1])
	}
	args[to] = filepath.Join(dir, "envoy.yaml")
	if out, err := ours(t, dir, "athd", args...); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(args[to])
	if err != nil {
		t.Fatal(err)
	}
	realenvoy.Validate(t, text)
	config := string(text)
	for _, socket := range regexp.MustCompile(`path: (/run/\S+\.sock)`).FindAllStringSubmatch(config, -1) {
		if filepath.Dir(socket[1]) != "/run/athd" {
			t.Errorf("a socket at %s is not shared", socket[1])
		}
	}
	for _, want := range []string{"/run/athd/authz.sock", "/run/athd/companion.sock", "port_value: 8080", "port_value: 9901"} {
		if !strings.Contains(config, want) {
			t.Errorf("Envoy's configuration lacks %s", want)
		}
	}
}

// Inside, Envoy has the very names by which browsers and agents know it.
func TestNamesAreTheSameInsideAndOutside(t *testing.T) {
	p := project(t)
	aliases := p.Services["envoy"].Networks["front"].Aliases
	text := read(t, "deploy/compose/athd.yaml") + read(t, "deploy/compose/providers.json")
	for _, s := range p.Services {
		text += strings.Join(s.Command, "\n") + "\n"
		for _, value := range s.Environment {
			text += *value + "\n"
		}
	}
	hosts := map[string]bool{}
	for _, m := range regexp.MustCompile(`http://([a-z.]+\.localhost)(:\d+)?`).FindAllStringSubmatch(text, -1) {
		if m[1] == "agent.localhost" {
			continue
		}
		hosts[m[1]] = true
		if m[2] != ":8080" {
			t.Errorf("%s: the published port is another one", m[0])
		}
	}
	if len(hosts) != len(aliases) || slices.ContainsFunc(aliases, func(name string) bool { return !hosts[name] }) {
		t.Errorf("hosts %v, Envoy's names %v", hosts, aliases)
	}
}

// Redis, on its own configuration: it persists, evicts nothing, and gives
// athd's user what athd needs; nobody else may do anything.
func TestRedisTakesItsConfiguration(t *testing.T) {
	dir := mounted(t)
	conf := lines(read(t, "deploy/compose/redis.conf"))
	acl, err := os.ReadFile(filepath.Join(dir, "redis/users.acl"))
	if err != nil {
		t.Fatal(err)
	}
	conf = slices.DeleteFunc(append(conf, lines(string(acl))...), func(line string) bool {
		word, _, _ := strings.Cut(line, " ")
		// Where it listens and lies is the test's; its own default user starts it.
		return slices.Contains([]string{"", "#", "bind", "port", "dir", "aclfile"}, word) || strings.HasPrefix(line, "user default ")
	})
	// Redis 7.0 reads its append-only file as this user: without rights it
	// would start without what scripts wrote.
	if !strings.Contains(string(acl), "user default off ~* &* +@all\n") {
		t.Errorf("the default user can log in, or has lost its rights:\n%s", acl)
	}
	server := realredis.Start(t, conf...)
	text, err := os.ReadFile(filepath.Join(dir, "athd/redis.url"))
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if u.Host != "redis:6379" {
		t.Errorf("athd looks for Redis at %s", u.Host)
	}
	u.Host = server.Addr()

	keyset, err := os.ReadFile(filepath.Join(dir, "athd/keyset.json"))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := tokenstore.ParseKeyset(keyset)
	if err != nil {
		t.Fatal(err)
	}
	store, err := tokenstore.Open(tokenstore.Config{URL: u.String(), Keyset: keys})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	health, err := store.Ready(t.Context())
	if err != nil || !health.Persistent || health.Evicts != "" {
		t.Errorf("%+v, %v", health, err)
	}

	for end := time.Now().Add(10 * time.Second); !store.Feed().Notified; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("athd is not notified of changes: %+v", store.Feed())
		}
	}

	password, _ := u.User.Password()
	if strings.Contains(string(acl), password) {
		t.Error("Redis' list of users holds the password itself")
	}
	as := func(user, password string) *redis.Client {
		c := redis.NewClient(&redis.Options{Addr: server.Addr(), Username: user, Password: password, Protocol: 2, DisableIdentity: true})
		t.Cleanup(func() { c.Close() })
		return c
	}
	ctx := context.WithoutCancel(t.Context())
	if err := as("health", "none").Ping(ctx).Err(); err != nil {
		t.Errorf("the health check: %v", err)
	}
	for name, err := range map[string]error{
		"the health check reads":     as("health", "none").Get(ctx, "ath:x").Err(),
		"athd reads other keys":      as("athd", password).Get(ctx, "other").Err(),
		"athd empties the database":  as("athd", password).FlushAll(ctx).Err(),
		"athd changes configuration": as("athd", password).ConfigSet(ctx, "appendonly", "no").Err(),
		"another password":           as("athd", password+"x").Ping(ctx).Err(),
	} {
		if err == nil || errors.Is(err, redis.Nil) || !strings.HasPrefix(err.Error(), "NOPERM") && !strings.HasPrefix(err.Error(), "WRONGPASS") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A second start finds its secrets, and a volume that was lost is made again
// from what the others hold.
func TestSecretsAreMadeOnce(t *testing.T) {
	dir := mounted(t)
	before := map[string]string{}
	files, err := filepath.Glob(filepath.Join(dir, "*/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		before[path] = string(text)
		if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o037 != 0 {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
	if out := makeSecrets(t, dir); !strings.Contains(out, "made 0 files") {
		t.Error(out)
	}
	for _, lost := range []string{"redis/users.acl", "login/client.secret", "shop/shop.secret", "operator/admin.token"} {
		if err := os.Remove(filepath.Join(dir, lost)); err != nil {
			t.Fatal(err)
		}
	}
	if out := makeSecrets(t, dir); !strings.Contains(out, "made 4 files") {
		t.Error(out)
	}
	for path, text := range before {
		if now, err := os.ReadFile(path); err != nil || string(now) != text {
			t.Errorf("%s is another one now: %v", path, err)
		}
	}
}

// A volume that an older version made gets the rules of this one at the next
// start, for the same password.
func TestAnOlderVolumeGetsTheNewRules(t *testing.T) {
	dir := mounted(t)
	path := filepath.Join(dir, "redis/users.acl")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	now := string(text)
	user, rules, found := strings.Cut(now, " ~ath:* ")
	if !found {
		t.Fatalf("no rules in %s", now)
	}
	// As commit f1b7ae5 wrote them.
	before := user + " ~ath:* +ping +get +mget +set +del +exists +pttl +pexpire +zadd +zrem +zremrangebyscore +zcard +zrange" +
		" +scan +eval +evalsha +hello +client|setname +info +config|get\n"
	if before == now {
		t.Fatal("nothing is newer")
	}
	if err := os.WriteFile(path, []byte(before), 0o640); err != nil {
		t.Fatal(err)
	}
	if out := makeSecrets(t, dir); !strings.Contains(out, "made 1 files") {
		t.Error(out)
	}
	after, err := os.ReadFile(path)
	if err != nil || string(after) != now {
		t.Errorf("the rules are %s, want %s (%v)", after, rules, err)
	}
}
