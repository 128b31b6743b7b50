package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/config"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/tokenstore"
)

// A keysRun is a command about keys, with the store that athd.yaml names.
type keysRun struct {
	terminal
	settings *config.Settings
	place    *keysetPlace
	store    *tokenstore.Store
}

// keysTimeout bounds each operation of a command on the store: nobody's decision
// waits for it.
const keysTimeout = 3 * time.Second

// withKeys opens the store with the keyset, and runs a command on both.
func withKeys(ctx context.Context, t terminal, path, keyset string, run func(context.Context, *keysRun) error) error {
	s, err := t.load(path)
	if err != nil {
		return err
	}
	if s.Embedded {
		return errors.New("store.url is embedded: what is stored there is sealed with a keyset that ends with athd, and nothing is to rotate")
	}
	p, err := keysetOf(keyset, s, t)
	if err != nil {
		return err
	}
	where := s.Store
	where.URL, where.Keyset, where.Timeout = s.StoreURL.Reveal(), p.keys, max(where.Timeout, keysTimeout)
	where.Logger = slog.New(slog.DiscardHandler)
	store, err := tokenstore.Open(where)
	if err != nil {
		return err
	}
	defer store.Close()
	if err = store.CheckKeyset(ctx); err == nil {
		err = run(ctx, &keysRun{terminal: t, settings: s, place: p, store: store})
	}
	if errors.Is(err, tokenstore.ErrOtherKeyset) || errors.Is(err, tokenstore.ErrUnavailable) {
		return fmt.Errorf("%s: %s\nnext: %s", store, tokenstore.Reason(err), tokenstore.Cure(err))
	}
	return err
}

// A fleet is what is expected of the athd that run on a store.
type fleet struct {
	patience string
	replicas int // -1: not said
}

const fleetUnsaid = -1

func fleetFlags(c *cobra.Command) *fleet {
	f := &fleet{}
	c.Flags().StringVar(&f.patience, "wait", "0s", "for how `long` to wait for athd that are not ready for it")
	c.Flags().IntVar(&f.replicas, "replicas", fleetUnsaid, "how `many` athd run at least; 0: none does")
	return f
}

// wait waits until every athd is as wanted, of which lacks says what it lacks. It
// fails with what is still lacking.
func (f *fleet) wait(ctx context.Context, k *keysRun, lacks func(*tokenstore.Replica) string, next string) error {
	patience, err := ath.ParseDuration(f.patience)
	if err != nil && f.patience != "0s" {
		return cli.Wrong("--wait: %v", err)
	}
	for deadline := time.Now().Add(patience); ; {
		missing, err := f.missing(ctx, k, lacks)
		if err != nil || len(missing) == 0 {
			return err
		}
		if left := time.Until(deadline); left <= 0 {
			return fmt.Errorf("nothing was changed:\n  %s\nnext: %s", strings.Join(missing, "\n  "), next)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func (f *fleet) missing(ctx context.Context, k *keysRun, lacks func(*tokenstore.Replica) string) ([]string, error) {
	all, err := k.store.Replicas(ctx)
	if err != nil {
		return nil, err
	}
	var missing []string
	for i := range all {
		text := lacks(&all[i])
		if _, there := k.place.keys.Key(all[i].Primary); !there {
			text = fmt.Sprintf("seals with %s, which %s lacks: it is older than the keyset in use", tokenstore.KeyName(all[i].Primary), k.place)
		}
		if text != "" {
			missing = append(missing, replicaName(all[i])+" "+text)
		}
	}
	switch {
	case f.replicas > len(all):
		missing = append(missing, fmt.Sprintf("%d athd tell that they run, and --replicas says %d", len(all), f.replicas))
	case len(all) == 0 && f.replicas == fleetUnsaid:
		missing = append(missing, "no athd tells that it runs: one from before there were these commands does not tell, and has to be upgraded first; --replicas 0 says that none runs")
	}
	return missing, nil
}
