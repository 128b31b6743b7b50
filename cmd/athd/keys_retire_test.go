package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/config/configtest"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/tokenstore"
)

// A rotated directory has an athd.yaml, and a keyset whose second key was just
// promoted, on a Redis of its own.
type rotated struct {
	rotation
	redis *miniredis.Miniredis
}

func rotatedHere(t *testing.T) rotated {
	t.Helper()
	r := rotated{rotate(t), miniredis.RunT(t)}
	t.Chdir(t.TempDir())
	data, err := r.promoted.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	text := configtest.YAML(map[string]string{"store": "{url: 'redis://" + r.redis.Addr() + "/0', keyset_file: keyset.json, timeout: 5s}"})
	for name, data := range map[string]string{"keyset.json": string(data), "athd.yaml": text, "providers.json": configtest.ProvidersJSON} {
		if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// with has a store of its own with one of the keysets.
func (r *rotated) with(t *testing.T, keys *tokenstore.Keyset, do func(*tokenstore.Store) error) {
	t.Helper()
	store, err := tokenstore.Open(tokenstore.Config{URL: "redis://" + r.redis.Addr() + "/0", Keyset: keys})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	_, err = store.Ready(t.Context())
	if err = errors.Join(err, do(store)); err != nil {
		t.Fatal(err)
	}
}

// keys runs athd keys with these words.
func keysCommand(words ...string) (code int, out, errs string) {
	var stdout, stderr strings.Builder
	code = run(append([]string{"keys"}, words...), terminal{cli.Terminal{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, LookupEnv: os.LookupEnv}})
	return code, stdout.String(), stderr.String()
}

func idOf(id uint32) string { return strings.TrimPrefix(tokenstore.KeyName(id), "key ") }

// The mark that a user's connections were ended is found by the key that sealed then.
// With that key it would be lost, and a consent under way would bring back what was
// ended.
// proves: V-6
func TestAKeyIsNotRetiredWhileAUsersEndNeedsIt(t *testing.T) {
	r := rotatedHere(t)
	r.with(t, r.first, func(s *tokenstore.Store) error { return s.EndUser(t.Context(), "user-1", nil, time.Now()) })
	if code, _, errs := keysCommand("rewrap", "--replicas", "0"); code != cli.ExitOK {
		t.Fatal(errs)
	}
	retire := []string{"retire", idOf(r.old), "--replicas", "0", "--discard"}
	code, _, errs := keysCommand(retire...)
	if code != cli.ExitFault || !strings.Contains(errs, "1 mark that users were ended, until ") || !strings.Contains(errs, "next: wait until ") {
		t.Errorf("%d\n%s", code, errs)
	}
	r.with(t, r.promoted, func(s *tokenstore.Store) error {
		if end, err := s.UserEnd(t.Context(), "user-1", "files"); err != nil || end.At.IsZero() {
			return errors.Join(err, errors.New("the mark is lost"))
		}
		return nil
	})
	r.redis.FastForward(time.Hour + time.Minute)
	if code, _, errs = keysCommand(retire...); code != cli.ExitOK {
		t.Error(errs)
	}
}

// What is still sealed with a key is told by kind and number, whoever sealed it.
func TestAKeyIsNotRetiredWhileRecordsNeedIt(t *testing.T) {
	r := rotatedHere(t)
	r.with(t, r.first, func(s *tokenstore.Store) error { return createAgent(t, s, "one") })
	code, _, errs := keysCommand("retire", idOf(r.old), "--replicas", "0", "--discard")
	if code != cli.ExitFault || !strings.Contains(errs, "is needed:\n  1 agent record\n") || !strings.Contains(errs, "next: athd keys rewrap") {
		t.Errorf("%d\n%s", code, errs)
	}
	if code, out, errs := keysCommand("status"); code != cli.ExitOK || !strings.Contains(out, "1 agent record") || !strings.Contains(out, "no athd tells that it runs") || !strings.Contains(out, "next: athd keys rewrap") {
		t.Errorf("%s%s", out, errs)
	}
	if code, _, errs := keysCommand("rewrap", "--replicas", "0"); code != cli.ExitOK {
		t.Fatal(errs)
	}
	if code, _, errs := keysCommand("retire", idOf(r.old), "--replicas", "0", "--discard"); code != cli.ExitOK {
		t.Error(errs)
	}
	r.with(t, r.alone, func(s *tokenstore.Store) error {
		id, err := ath.ParseAgentID("https://agents.example/one", false)
		if err == nil {
			_, err = s.Agent(t.Context(), ath.AgentTag(id.String()))
		}
		return err
	})
}

// An athd that seals with the old key, or lacks the new one, is named, and holds up
// each step that would harm it.
func TestAReplicaHoldsUpWhatWouldHarmIt(t *testing.T) {
	r := rotatedHere(t)
	store, err := tokenstore.Open(tokenstore.Config{URL: "redis://" + r.redis.Addr() + "/0", Keyset: r.both})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Announce(t.Context(), tokenstore.Replica{Name: "athd-0"}); err != nil {
		t.Fatal(err)
	}
	sealing := "athd-0/" + store.ReplicaID()[:6] + " seals with key " + idOf(r.old) + " still"
	for _, words := range [][]string{{"rewrap"}, {"retire", idOf(r.old), "--discard"}} {
		if code, _, errs := keysCommand(words...); code != cli.ExitFault || !strings.Contains(errs, sealing) || !strings.Contains(errs, "nothing was changed") {
			t.Errorf("%v: %d\n%s", words, code, errs)
		}
	}
	code, out, errs := keysCommand("status")
	if code != cli.ExitOK || !strings.Contains(out, "athd-0/"+store.ReplicaID()[:6]+" seals with it") || !strings.Contains(out, "next: give every athd this keyset: "+sealing) {
		t.Errorf("%s%s", out, errs)
	}
	if code, _, errs := keysCommand("add"); code != cli.ExitOK {
		t.Fatal(errs)
	}
	file, err := os.ReadFile("keyset.json")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := tokenstore.ParseKeyset(file)
	if err != nil {
		t.Fatal(err)
	}
	third := idOf(keys.Keys()[2].ID)
	code, _, errs = keysCommand("promote", third)
	if code != cli.ExitFault || !strings.Contains(errs, "athd-0/"+store.ReplicaID()[:6]+" does not have key "+third) {
		t.Errorf("%d\n%s", code, errs)
	}
	if now, err := os.ReadFile("keyset.json"); err != nil || string(now) != string(file) {
		t.Error("the file was written")
	}
	if err := store.UseKeyset(context.Background(), keys); err != nil {
		t.Fatal(err)
	}
	if err := store.Announce(t.Context(), tokenstore.Replica{Name: "athd-0"}); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := keysCommand("promote", third, "--replicas", "2"); code != cli.ExitFault || !strings.Contains(errs, "1 athd tell that they run, and --replicas says 2") {
		t.Errorf("%d\n%s", code, errs)
	}
	if code, _, errs := keysCommand("promote", third, "--replicas", "1"); code != cli.ExitOK {
		t.Error(errs)
	}
}

// Whoever starts with an older file while it is looked who needs the key seals behind
// who looks.
func TestAKeyIsNotRetiredWhereAnAthdStartedMeanwhile(t *testing.T) {
	r := rotatedHere(t)
	open := func(keys *tokenstore.Keyset) *tokenstore.Store {
		store, err := tokenstore.Open(tokenstore.Config{URL: "redis://" + r.redis.Addr() + "/0", Keyset: keys})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		return store
	}
	there, starts := open(r.promoted), open(r.both)
	if err := there.Announce(t.Context(), tokenstore.Replica{Name: "athd-0"}); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	r.redis.Server().SetPreHook(func(_ *server.Peer, command string, _ ...string) bool {
		if command == "SCAN" {
			once.Do(func() {
				if err := starts.Announce(t.Context(), tokenstore.Replica{Name: "athd-1"}); err != nil {
					t.Error(err)
				}
				if err := starts.UseKeyset(t.Context(), r.promoted); err != nil { // too late
					t.Error(err)
				}
				if err := starts.Announce(t.Context(), tokenstore.Replica{Name: "athd-1"}); err != nil {
					t.Error(err)
				}
			})
		}
		return false
	})
	retire := []string{"retire", idOf(r.old), "--discard"}
	code, _, errs := keysCommand(retire...)
	if code != cli.ExitFault || !strings.Contains(errs, "nothing was changed") || !strings.Contains(errs, "athd-1/"+starts.ReplicaID()[:6]+" has started while it was looked") {
		t.Errorf("%d\n%s", code, errs)
	}
	if code, _, errs := keysCommand(retire...); code != cli.ExitOK {
		t.Error(errs)
	}
}

// A keyset from before the last rotation is not edited into the next one.
func TestAnOldKeysetIsNotPromotedInto(t *testing.T) {
	r := rotatedHere(t)
	store, err := tokenstore.Open(tokenstore.Config{URL: "redis://" + r.redis.Addr() + "/0", Keyset: r.promoted})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	keys, third, err := r.promoted.Add()
	if err != nil {
		t.Fatal(err)
	}
	if keys, err = keys.Promote(third); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(store.UseKeyset(t.Context(), keys), store.Announce(t.Context(), tokenstore.Replica{Name: "athd-0"})); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile("keyset.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"this Redis was written with another keyset: it needs key " + idOf(third),
		"seals with key " + idOf(third) + ", which keyset.json lacks: it is older than the keyset in use",
	} {
		code, _, errs := keysCommand("promote", idOf(r.old))
		if after, err := os.ReadFile("keyset.json"); err != nil || code != cli.ExitFault || string(before) != string(after) || !strings.Contains(errs, want) {
			t.Errorf("%d %v\n%s", code, err, errs)
		}
		r.redis.Del("ath:{canary}:keyset") // such as by an older athd, which seals it with its own key
	}
}

func createAgent(t *testing.T, s *tokenstore.Store, name string) error {
	id, err := ath.ParseAgentID("https://agents.example/"+name, false)
	if err != nil {
		return err
	}
	return s.CreateAgent(t.Context(), tokenstore.Agent{
		ID: id.String(), ClientID: ath.NewClientID(id).String(), Generation: 1, Registered: time.Now(), ApprovalExpires: time.Now().Add(100 * 24 * time.Hour),
		Approvals: []tokenstore.Approval{{Provider: "files", Approved: ath.Scopes{"files:read"}}},
	})
}
