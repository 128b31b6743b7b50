package exchange

import (
	"context"
	"log/slog"
	"testing"

	"github.com/athd/athd/authz"
)

func TestNewJudgeRefuses(t *testing.T) {
	decide := func(context.Context, authz.Request) authz.Decision { return authz.Decision{} }
	for name, c := range map[string]Config{"no decider": {Logger: slog.New(slog.DiscardHandler)}, "no logger": {Decide: decide}} {
		if _, err := NewJudge(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
