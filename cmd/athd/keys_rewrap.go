package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/tokenstore"
)

// rewrapTold is how often a rewrap says how far it is.
const rewrapTold = 2 * time.Second

func newKeysRewrap(t terminal) *cobra.Command {
	c := &cobra.Command{
		Use:     "rewrap",
		Short:   "seal again, with the key that seals, what other keys have sealed",
		Example: "  athd keys rewrap --config athd.yaml --wait 2m",
	}
	path := cli.ConfigFlag(c)
	keyset := keysetFlag(c, false)
	fleet := fleetFlags(c)
	rate := c.Flags().Int("rate", tokenstore.DefaultRewrapRate, "how `many` keys of Redis are read or written in a second at most")
	format := cli.FormatFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *rate < 1 {
			return cli.Wrong("--rate: want at least one key in a second")
		}
		return withKeys(c.Context(), t, *path, *keyset, func(ctx context.Context, k *keysRun) error {
			return k.rewrap(ctx, *rate, fleet, *format)
		})
	}
	return c
}

func (k *keysRun) rewrap(ctx context.Context, rate int, fleet *fleet, format cli.Format) error {
	primary := k.place.keys.Primary()
	if err := fleet.wait(ctx, k, func(r *tokenstore.Replica) string { return sealsOtherwise(r, primary) },
		"give each athd this keyset; it is read within five seconds. --wait 2m waits for the last one: until then it goes on sealing with another key"); err != nil {
		return err
	}
	told := time.Now()
	issuers, err := k.issuers(ctx)
	if err != nil {
		return err
	}
	done, err := k.store.Rewrap(ctx, tokenstore.Rewrap{Rate: rate, Issuers: issuers, Progress: func(r *tokenstore.Rewrapped) {
		if time.Since(told) >= rewrapTold {
			told = time.Now()
			fmt.Fprintf(k.Stderr, "pass %d: looked at %d keys, sealed %d records again\n", r.Pass, r.Looked, sum(r.Records))
		}
	}})
	if err != nil {
		fmt.Fprintf(k.Stderr, "sealed %s again before it ended; athd keys rewrap goes on from there\n", several(sum(done.Records), "record"))
		return err
	}
	next := "athd keys status says what still needs which key"
	if done.Left > 0 || done.Unopenable > 0 {
		next = "athd keys rewrap again, in a minute; " + next
	}
	if format == cli.JSON {
		err = k.JSON(struct {
			tokenstore.Rewrapped
			Seals uint32 `json:"seals"`
			Next  string `json:"next"`
		}{done, primary, next})
	} else {
		k.tellRewrapped(&done, primary, next)
	}
	if err == nil && (done.Left > 0 || done.Unopenable > 0) {
		return cli.ErrFound
	}
	return err
}

func (k *keysRun) tellRewrapped(done *tokenstore.Rewrapped, primary uint32, next string) {
	line := func(format string, args ...any) { fmt.Fprintf(k.Stdout, format+"\n", args...) }
	line("sealed %s again with %s", several(sum(done.Records), "record"), tokenstore.KeyName(primary))
	for _, kind := range slices.Sorted(maps.Keys(done.Records)) {
		line("  %s  %d", kind, done.Records[kind])
	}
	if done.Indexes > 0 {
		line("completed %s of users", several(done.Indexes, "index"))
	}
	if done.Shared > 0 {
		line("made %s of users findable", several(done.Shared, "shared connection"))
	}
	if done.Left > 0 {
		line("left %s that somebody is at", several(done.Left, "record"))
	}
	if done.Unopenable > 0 {
		line("left %s as they are:", several(done.Unopenable, "record"))
		for _, u := range done.Unopened {
			line("  %s: %s", visible(u.Key), u.Why)
		}
	}
	line("next: %s", next)
}

// issuers are the OAuth servers whose metadata is stored: those of the files' providers
// and of those that operators added while athd runs.
func (k *keysRun) issuers(ctx context.Context) ([]string, error) {
	var out []string
	for _, p := range k.settings.Providers.All() {
		if p.Issuer != "" {
			out = append(out, p.Issuer)
		}
	}
	tags, err := k.store.RuntimeProviderTags(ctx)
	if err != nil {
		return nil, err
	}
	added, err := k.store.RuntimeProviders(ctx, tags, nil)
	if err != nil {
		return nil, err
	}
	for _, p := range added {
		var says struct {
			Issuer string `json:"issuer"`
		}
		if json.Unmarshal([]byte(p.Value.Config.Reveal()), &says) == nil && says.Issuer != "" {
			out = append(out, says.Issuer)
		}
	}
	return out, nil
}

func sum(of map[string]int) int {
	n := 0
	for _, v := range of {
		n += v
	}
	return n
}
