package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/athd/athd/config"
	"github.com/athd/athd/tokenstore"
)

// A followed athd is a store, and the file of its keyset.
type followed struct {
	*keysetFollower
	store *tokenstore.Store
	log   *bytes.Buffer
	taken map[string]int

	file  []byte
	fault error
}

func follow(t *testing.T, address string, keys *tokenstore.Keyset) *followed {
	t.Helper()
	store, err := tokenstore.Open(tokenstore.Config{URL: "redis://" + address, Keyset: keys})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	f := &followed{store: store, log: &bytes.Buffer{}, taken: map[string]int{}}
	f.write(t, keys)
	f.keysetFollower = newKeysetFollower(&config.Settings{KeysetFile: "keyset.json"}, store, slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})), func(outcome string) { f.taken[outcome]++ })
	f.read = func(path string) (*tokenstore.Keyset, []byte, error) {
		return config.ReadKeyset(path, func(string) ([]byte, fs.FileMode, error) { return f.file, 0o600, f.fault })
	}
	f.begin(t.Context())
	f.look(t)
	return f
}

// look is one look, after which the others are told.
func (f *followed) look(t *testing.T) {
	t.Helper()
	f.follow(t.Context(), false)
	f.announce(t.Context())
}

func (f *followed) write(t *testing.T, keys *tokenstore.Keyset) {
	t.Helper()
	var err error
	if f.file, err = keys.Marshal(); err != nil {
		t.Fatal(err)
	}
}

// seals makes sure of the key that seals, and that the store is content.
func (f *followed) seals(t *testing.T, id uint32) {
	t.Helper()
	if got := f.store.Keyset().Primary(); got != id {
		t.Errorf("%d seals, want %d\n%s", got, id, f.log)
	}
	if _, err := f.store.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

type rotation struct {
	first, both, promoted, alone *tokenstore.Keyset
	old, fresh                   uint32
}

func rotate(t *testing.T) (r rotation) {
	t.Helper()
	var errs [4]error
	r.first, errs[0] = tokenstore.NewKeyset()
	r.both, r.fresh, errs[1] = r.first.Add()
	r.old = r.first.Primary()
	r.promoted, errs[2] = r.both.Promote(r.fresh)
	r.alone, errs[3] = r.promoted.Retire(r.old)
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTheKeysetFollowsItsFile(t *testing.T) {
	server, r, ctx := miniredis.RunT(t), rotate(t), t.Context()
	f := follow(t, server.Addr(), r.first)
	f.seals(t, r.old)
	for _, step := range []struct {
		keys  *tokenstore.Keyset
		seals uint32
	}{{r.both, r.old}, {r.promoted, r.fresh}} {
		f.write(t, step.keys)
		f.look(t)
		f.seals(t, step.seals)
	}
	if f.taken[keysetTaken] != 2 || f.taken[keysetRefused] != 0 || strings.Count(f.log.String(), "keyset taken") != 2 {
		t.Errorf("it is told as %v:\n%s", f.taken, f.log)
	}
	if all, err := f.store.Replicas(ctx); err != nil || len(all) != 1 || all[0].Primary != r.fresh {
		t.Errorf("others hear %+v, %v", all, err)
	}
	if err := f.store.MarkRetired(ctx, r.old); err != nil {
		t.Fatal(err)
	}
	f.write(t, r.alone)
	f.look(t)
	f.seals(t, r.fresh)
	if got := len(f.store.Keyset().Keys()); got != 1 {
		t.Errorf("there are %d keys", got)
	}
}

// F-3. Whatever the file becomes, athd goes on with the last good keyset, and says so.
func TestABadKeysetFileChangesNothing(t *testing.T) {
	server, r, ctx := miniredis.RunT(t), rotate(t), t.Context()
	other := rotate(t)
	f := follow(t, server.Addr(), r.first)
	for _, bad := range []struct {
		name  string
		write func()
		want  string
	}{
		{"gone", func() { f.fault = fs.ErrNotExist }, "cannot be read: file does not exist"},
		{"empty", func() { f.file = nil }, "keyset is not a valid Tink keyset in JSON"},
		{"half", func() { f.write(t, r.both); f.file = f.file[:len(f.file)/2] }, "keyset is not a valid Tink keyset in JSON"},
		{"a stranger's", func() { f.write(t, other.both) }, "this Redis was written with another keyset: it needs " + tokenstore.KeyName(r.old)},
		{"without the old key", func() { f.write(t, r.alone) }, "this Redis was written with another keyset: it needs " + tokenstore.KeyName(r.old)},
	} {
		t.Run(bad.name, func(t *testing.T) {
			before := f.taken[keysetRefused]
			bad.write()
			f.look(t)
			f.look(t)
			f.look(t)
			f.seals(t, r.old)
			if got := f.status().Refused; !strings.Contains(got, bad.want) || f.taken[keysetRefused] != before+1 || f.taken[keysetTaken] != 0 {
				t.Errorf("it is told as %q, %v", got, f.taken)
			}
			check, warnings := keysetCheck(f.status())
			if check.OK || len(warnings) != 1 || !strings.Contains(warnings[0], bad.want) {
				t.Errorf("/readyz says %+v %v", check, warnings)
			}
			if all, err := f.store.Replicas(ctx); err != nil || len(all) != 1 || !strings.Contains(all[0].Refused, bad.want) {
				t.Errorf("others hear %+v, %v", all, err)
			}
			f.fault = nil
			f.write(t, r.first)
			f.look(t)
			if state := f.status(); state != (keysetState{}) {
				t.Errorf("the file is good again, and it is told as %+v", state)
			}
		})
	}
	if strings.Contains(f.log.String(), "value") {
		t.Errorf("the log quotes the file:\n%s", f.log)
	}
}

// An editor truncates a file before it writes it: nobody is alarmed by that.
func TestAFileThatIsBeingWrittenIsLookedAtTwice(t *testing.T) {
	server, r, ctx := miniredis.RunT(t), rotate(t), t.Context()
	f := follow(t, server.Addr(), r.first)
	f.file = nil
	f.look(t)
	if state := f.status(); state != (keysetState{}) {
		t.Errorf("at once it is told as %+v", state)
	}
	f.write(t, r.both)
	f.look(t)
	if f.taken[keysetTaken] != 1 || f.taken[keysetRefused] != 0 {
		t.Errorf("it is told as %v", f.taken)
	}
	f.file = nil
	f.follow(ctx, true) // who sends SIGHUP has written it
	if f.taken[keysetRefused] != 1 {
		t.Errorf("on request it is told as %v", f.taken)
	}
}

// A key that another athd lacks does not seal yet, though the file says so: neither
// when the file changes nor at start. It does as soon as the last one has it.
func TestAKeySealsWhenEveryReplicaHasIt(t *testing.T) {
	server, r := miniredis.RunT(t), rotate(t)
	one, two := follow(t, server.Addr(), r.first), follow(t, server.Addr(), r.first)
	started := follow(t, server.Addr(), r.promoted) // such as by a rolling restart
	started.seals(t, r.old)
	one.write(t, r.promoted)
	one.look(t)
	one.seals(t, r.old)
	if key, ok := one.store.Keyset().Key(r.fresh); !ok || !key.Enabled {
		t.Error("it does not open with the new key yet")
	}
	if waits := one.status().Waits; !strings.Contains(waits, tokenstore.KeyName(r.fresh)+" is to seal, and does not yet: ") || !strings.Contains(waits, two.store.ReplicaID()[:6]+" lacks it") {
		t.Errorf("it says %q", waits)
	}
	if check, warnings := keysetCheck(one.status()); !check.OK || len(warnings) != 1 {
		t.Errorf("/readyz says %+v %v", check, warnings)
	}
	two.write(t, r.promoted)
	for _, f := range []*followed{two, one, started} {
		f.look(t)
		f.seals(t, r.fresh)
		if state := f.status(); state != (keysetState{}) {
			t.Errorf("it is told as %+v", state)
		}
	}
}

// Redis may be away when athd starts: then it is asked again, before it is told that
// this athd is there, and nothing locks out those that lack the key.
func TestAKeyDoesNotSealSinceRedisWasAwayAtStart(t *testing.T) {
	server, r := miniredis.RunT(t), rotate(t)
	one := follow(t, server.Addr(), r.first)
	server.SetError("LOADING it loads")
	started := follow(t, server.Addr(), r.promoted)
	server.SetError("")
	if _, err := started.store.Ready(t.Context()); err != nil { // such as by /readyz
		t.Fatal(err)
	}
	one.seals(t, r.old) // it has the canary's key
	started.look(t)
	started.seals(t, r.old)
	one.write(t, r.promoted)
	for _, f := range []*followed{one, started} {
		f.look(t)
		f.seals(t, r.fresh)
	}
}

// An athd that started with another keyset goes on with the right one when that comes.
func TestAnAthdWithAnotherKeysetTakesTheRightOne(t *testing.T) {
	server, r := miniredis.RunT(t), rotate(t)
	one := follow(t, server.Addr(), r.first)
	stranger := follow(t, server.Addr(), rotate(t).first)
	if _, err := stranger.store.Ready(t.Context()); !errors.Is(err, tokenstore.ErrOtherKeyset) {
		t.Fatalf("it is content: %v", err)
	}
	stranger.write(t, r.first)
	stranger.look(t)
	for _, f := range []*followed{one, stranger} {
		f.seals(t, r.old)
	}
}

// Redis may be away when the file changes: a key more is no risk, and the rest waits.
func TestAKeysetWaitsForRedis(t *testing.T) {
	server, r := miniredis.RunT(t), rotate(t)
	f := follow(t, server.Addr(), r.first)
	server.SetError("LOADING it loads")
	f.write(t, r.both)
	f.look(t)
	if _, ok := f.store.Keyset().Key(r.fresh); !ok {
		t.Error("the key was not added")
	}
	f.write(t, r.promoted)
	f.look(t)
	if f.store.Keyset().Primary() != r.old || f.taken[keysetRefused] != 0 {
		t.Errorf("it is told as %v", f.taken)
	}
	server.SetError("")
	f.look(t)
	f.seals(t, r.fresh)
}

func TestAKeysetOfTheEnvironmentIsNotReadAgain(t *testing.T) {
	server, r := miniredis.RunT(t), rotate(t)
	f := follow(t, server.Addr(), r.first)
	f.path = ""
	f.write(t, r.both)
	f.follow(t.Context(), true)
	if _, ok := f.store.Keyset().Key(r.fresh); ok {
		t.Error("it was read from somewhere")
	}
	if !strings.Contains(f.log.String(), "restart athd for another keyset") {
		t.Errorf("nobody says why:\n%s", f.log)
	}
}

// An athd that ends is not waited for.
func TestAnAthdThatEndsIsNoReplicaAnyMore(t *testing.T) {
	server, r := miniredis.RunT(t), rotate(t)
	f := follow(t, server.Addr(), r.first)
	if all, err := f.store.Replicas(t.Context()); err != nil || len(all) != 1 {
		t.Fatalf("there are %+v, %v", all, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	f.run(ctx)
	if all, err := f.store.Replicas(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("athd has ended, and there are %+v, %v", all, err)
	}
}

// A key that nothing needs may go by hand, such as one that was added by mistake; one
// that another athd seals with may not.
func TestAKeyThatNothingNeedsMayGo(t *testing.T) {
	server, r := miniredis.RunT(t), rotate(t)
	f := follow(t, server.Addr(), r.first)
	for _, keys := range []*tokenstore.Keyset{r.both, r.first} {
		f.write(t, keys)
		f.look(t)
		if !sameKeys(f.store.Keyset(), keys) {
			t.Fatalf("%v is in use, and not %v\n%s", f.store.Keyset(), keys, f.log)
		}
	}
	other := follow(t, server.Addr(), r.both)
	for _, g := range []*followed{f, other} {
		g.write(t, r.promoted)
		g.look(t)
		g.look(t)
	}
	other.seals(t, r.fresh)
	// It has sealed nothing but the canary, which follows: but it may at any time.
	if err := other.store.UseKeyset(t.Context(), r.both); err != nil {
		t.Fatal(err)
	}
	other.announce(t.Context())
	if err := f.store.UseKeyset(t.Context(), r.promoted); err != nil {
		t.Fatal(err)
	}
	f.announce(t.Context()) // the canary follows again
	f.write(t, r.alone)
	f.look(t)
	if got := f.status().Refused; !strings.Contains(got, "it lacks "+tokenstore.KeyName(r.old)+", which another athd seals with") {
		t.Errorf("it says %q", got)
	}
	// It is not judged again at once, but on request.
	if err := other.store.UseKeyset(t.Context(), r.promoted); err != nil {
		t.Fatal(err)
	}
	other.announce(t.Context())
	f.look(t)
	if len(f.store.Keyset().Keys()) != 2 {
		t.Error("it was judged again at once")
	}
	f.follow(t.Context(), true)
	if !sameKeys(f.store.Keyset(), r.alone) || f.status() != (keysetState{}) {
		t.Errorf("on request it says %+v\n%s", f.status(), f.log)
	}
}
