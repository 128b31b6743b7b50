package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/config"
	"github.com/athd/athd/tokenstore"
)

// all runs the doctor, and returns what it found.
func all(t *testing.T, c Config) (found []Finding) {
	t.Helper()
	Run(t.Context(), c, func(_ string, f []Finding) { found = append(found, f...) }, nil)
	return found
}

// wants fails unless there is such a finding; cause and cure may be parts.
func wants(t *testing.T, found []Finding, id string, status Status, cause, cure string) {
	t.Helper()
	if !slices.ContainsFunc(found, func(f Finding) bool {
		return f.ID == id && f.Status == status && strings.Contains(f.Cause, cause) && strings.Contains(f.Cure, cure)
	}) {
		t.Errorf("no %s %s with %q and %q in\n%+v", status, id, cause, cure, found)
	}
}

// answers is athd's API of operators.
func answers(bodies map[string]any) func(context.Context, string, any) error {
	return func(_ context.Context, path string, into any) error {
		path, _, _ = strings.Cut(path, "?")
		body, ok := bodies[path]
		if !ok {
			return &AskError{Cause: "NOT_FOUND", Cure: "an older athd"}
		}
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		return json.Unmarshal(text, into)
	}
}

// What is not asked is said, with why, and how it could be.
func TestNothingIsLeftOutInSilence(t *testing.T) {
	found := all(t, Config{NoAsk: "there is no admin token"})
	subjectsSeen := map[string]bool{}
	for _, f := range found {
		name, _, _ := strings.Cut(f.ID, ".")
		subjectsSeen[name] = true
		if f.Status != NotAsked || f.Cause == "" || f.Asked == "" {
			t.Errorf("%+v", f)
		}
	}
	for _, s := range subjects {
		if !subjectsSeen[s.name] {
			t.Errorf("nothing is said of %s", s.title)
		}
	}
	wants(t, found, "redis.reach", NotAsked, "--config athd.yaml", "")
	wants(t, found, "agents.pending", NotAsked, "there is no admin token", "--token-file FILE")
}

func TestWhoeverIsWaitedForIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(context.Context, string, any) error { time.Sleep(3 * time.Second); return errors.New("late") }
		var waiting, told []string
		Run(t.Context(), Config{Ask: slow}, func(title string, _ []Finding) { told = append(told, title) }, func(title string) { waiting = append(waiting, title) })
		var titles []string
		for _, s := range subjects {
			titles = append(titles, s.title)
		}
		if !slices.Equal(told, titles) || !slices.Contains(waiting, "the providers") {
			t.Errorf("told %q, waited for %q", told, waiting)
		}
	})
}

func TestWhatOthersSayIsBoundedAndPrintable(t *testing.T) {
	const evil = "\x1b[2J\r\u202e"
	long := strings.Repeat("x", 1<<20)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := json.NewEncoder(w).Encode(api.Gateway{ID: evil + long}); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	found := all(t, Config{PublicURL: server.URL, Envoy: server.URL, Ask: answers(map[string]any{
		ath.AdminAgentsPath:    api.AgentList{Agents: []api.Agent{{ClientID: evil, AgentID: long}}},
		ath.AdminRefusalsPath:  api.RefusalList{Refusals: []api.Refusal{{Reason: evil, Method: evil, Path: long, Count: 1}}},
		ath.AdminProvidersPath: api.ProviderList{Destination: "route", Providers: []api.Provider{{ID: evil, APIBase: "https://" + long}}},
	})})
	for _, f := range found {
		for _, text := range []string{f.ID, f.Asked, f.Found, f.Cause, f.Cure} {
			if strings.ContainsAny(text, evil[:1]+"\r\u202e") || len(text) > 4*maxText {
				t.Errorf("%s: %.200q, %d bytes", f.ID, text, len(text))
			}
		}
	}
	wants(t, found, "public.leads", Fault, "another public_url", "public_url: ")
	wants(t, found, "agents.pending", Warning, "1 agent waits for you", "athctl agents show")
}

func TestClocks(t *testing.T) {
	now := time.Now()
	at := func(who string, ahead time.Duration) reading {
		return reading{who: who, now: now.Add(ahead), asked: now}
	}
	for name, tt := range map[string]struct {
		readings    []reading
		status      Status
		cause, cure string
	}{
		"nobody says":     {nil, NotAsked, "nobody has said", ""},
		"all agree":       {[]reading{at("Redis", time.Second), at("as.example", -time.Second)}, OK, "", ""},
		"ours is behind":  {[]reading{at("Redis", 6*time.Minute), at("as.example", 6*time.Minute)}, Fault, "this machine's clock is 6m0s behind, by Redis, as.example", "on this machine: timedatectl"},
		"ours drifts":     {[]reading{at("Redis", -time.Minute)}, Warning, "this machine's clock is 1m0s ahead, by Redis", "timedatectl"},
		"one of them is":  {[]reading{at("Redis", 0), at("as.example", time.Hour)}, Warning, "the clock of as.example is 1h0m0s ahead, while 1 other agrees", "synchronise the clock of as.example"},
		"Redis of others": {[]reading{at("Redis", -time.Hour), at("a", 0), at("b", 0)}, Warning, "the clock of Redis is 1h0m0s behind, while 2 others agree", "synchronise the clock of Redis"},
	} {
		t.Run(name, func(t *testing.T) {
			d, f := &doctor{Config: Config{Now: time.Now}}, &findings{subject: "clock"}
			for _, r := range tt.readings {
				d.clocks.add(r)
			}
			d.clock(t.Context(), f)
			if len(f.all) != 1 {
				t.Errorf("%+v", f.all)
			}
			wants(t, f.all, "clock.agree", tt.status, tt.cause, tt.cure)
		})
	}
}

func TestRedisOfTheOddKinds(t *testing.T) {
	okay := tokenstore.Answer{Asked: true}
	for name, tt := range map[string]struct {
		change          func(*tokenstore.Examination, *config.Settings)
		id, cause, cure string
		status          Status
	}{
		"slow": {func(x *tokenstore.Examination, _ *config.Settings) { x.Took = time.Second }, "redis.reach", "took 1s to answer", "store: {timeout: 900ms}", Warning},
		"TLS with whom": {func(x *tokenstore.Examination, _ *config.Settings) {
			x.Address, x.Reach.Err = "rediss://r", context.DeadlineExceeded
		}, "redis.reach", "(rediss://r)", "rediss:// in store.url is TLS", Fault},
		"not on disk": {func(x *tokenstore.Examination, _ *config.Settings) { x.Health.Persistent = false }, "redis.persistence", "may lose every grant", "appendonly yes", Warning},
		"nearly full": {func(x *tokenstore.Examination, _ *config.Settings) { x.Health.UsedMemory, x.Health.MaxMemory = 95, 100 }, "redis.memory", "95 of 100 bytes", "maxmemory 200", Warning},
		"replicas":    {func(_ *tokenstore.Examination, s *config.Settings) { s.Store.WaitReplicas = 2 }, "redis.replicas", "store.wait_replicas is 2, and 1 replica is connected", "wait_replicas: 1", Fault},
		"no INFO": {func(x *tokenstore.Examination, _ *config.Settings) {
			x.Info, x.Health, x.Advised = tokenstore.Answer{Asked: true, Err: errors.New("NOPERM")}, tokenstore.Health{}, []string{"+info"}
		}, "redis.server", "the ACL does not allow it", "redis-cli ACL SETUSER athd +info '+config|get'", NotAsked},
		"keys":        {func(*tokenstore.Examination, *config.Settings) {}, "redis.keys", "", "", OK},
		"keys differ": {func(x *tokenstore.Examination, _ *config.Settings) { x.Replicas[1].Primary = 8 }, "redis.keys", "2 athd seal with 2 different keys", "athd keys status", Warning},
		"a keyset refused": {func(x *tokenstore.Examination, _ *config.Settings) { x.Replicas[1].Refused = "it lacks key 7" },
			"redis.keys", "of 2 athd 1 refuse the file of their keyset", "keyset refused", Fault},
		"no SUBSCRIBE": {func(x *tokenstore.Examination, _ *config.Settings) { x.Subscribe.Err = errors.New("NOPERM") }, "redis.subscribe", "within a second by comparing", "'&ath:*'", Warning},
	} {
		t.Run(name, func(t *testing.T) {
			x := &tokenstore.Examination{
				Address: "redis://r", User: "athd", Reach: okay, Login: okay, Role: okay, Rights: okay, Write: okay, Keyset: okay, Subscribe: okay, Info: okay,
				Health: tokenstore.Health{Server: "redis 7.2", Persistent: true}, Waiting: 1,
				Replicas: []tokenstore.Replica{{Name: "a", Primary: 7}, {Name: "b", Primary: 7}},
			}
			s := &config.Settings{}
			s.Store.Timeout = 250 * time.Millisecond
			tt.change(x, s)
			r := redisFindings{&findings{subject: "redis"}, x, &doctor{Config: Config{Settings: s}}}
			r.reach()
			r.rights()
			r.keys()
			r.server()
			r.subscribe()
			wants(t, r.all, tt.id, tt.status, tt.cause, tt.cure)
		})
	}
}

func TestTheLastRefusalsAreSummedByReason(t *testing.T) {
	d := &doctor{Config: Config{Ask: answers(map[string]any{ath.AdminRefusalsPath: api.RefusalList{Since: "2026", Refusals: []api.Refusal{
		{Reason: "scope_missing", Method: "GET", Path: "/api/x", DecisionID: "dec_3", Count: 2},
		{Reason: "invalid_request", Method: "GET", Path: ath.ConsentStartPath, DecisionID: "dec_mine", Count: 1},
		{Reason: "scope_missing", Method: "GET", Path: "/api/y", DecisionID: "dec_1", Count: 5},
		{Reason: "token_in_query", Method: "GET", Path: "(holds a token)", DecisionID: "dec_4", Count: 1},
		{Reason: "invalid_attestation", Method: "POST", Path: ath.RegisterPath, DecisionID: "dec_0", Count: 1},
	}}})}}
	d.asked.add("dec_mine")
	f := &findings{subject: "refusals"}
	d.refusals(t.Context(), f)
	if len(f.all) != 3 {
		t.Errorf("%+v", f.all)
	}
	wants(t, f.all, "refusals.last", Warning, "1 × token_in_query", "grep dec_4 in athd's log")
	wants(t, f.all, "refusals.last", Warning, "7 × scope_missing", "athctl explain GET /api/x")
	wants(t, f.all, "refusals.last", Warning, "1 × invalid_attestation", "grep dec_0 in athd's log")
}

// Whoever is refused has chosen method and path, and an operator pastes the cure
// into a shell.
func TestACureHasNothingForAShellToRun(t *testing.T) {
	d := &doctor{Config: Config{Ask: answers(map[string]any{
		ath.AdminRefusalsPath: api.RefusalList{Refusals: []api.Refusal{{Reason: "x", Method: "`id`", Path: "/a;$(id)'b", Count: 1}}},
		ath.AdminAgentsPath:   api.AgentList{Agents: []api.Agent{{ClientID: "ath_1;id"}}},
	})}}
	f := &findings{subject: "it"}
	d.refusals(t.Context(), f)
	d.agents(t.Context(), f)
	wants(t, f.all, "it.last", Warning, "", "athctl explain '`id`' '/a;$(id)'\\''b' judges")
	wants(t, f.all, "it.pending", Warning, "", "athctl agents show 'ath_1;id', then")
}
