package ready_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/athd/athd/internal/ready"
)

// looks answers one after the other, and the last for ever.
func looks(missing ...string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		now := missing[0]
		if len(missing) > 1 {
			missing = missing[1:]
		}
		return now, nil
	}
}

func TestWaitTellsEachThingThatIsMissingOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		tell := func(missing string) { told = append(told, missing) }
		if missing, err := ready.Wait(t.Context(), looks("athd", "athd", "Envoy", "Envoy", ""), tell); missing != "" || err != nil {
			t.Errorf("%q, %v", missing, err)
		}
		if !slices.Equal(told, []string{"athd", "Envoy"}) {
			t.Errorf("told %q", told)
		}
	})
}

func TestWaitEndsWithItsContextAndSaysWhatIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		began := time.Now()
		missing, err := ready.Wait(ctx, looks("athd", "Envoy"), func(string) {})
		if missing != "Envoy" || !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 20*time.Second {
			t.Errorf("%q, %v after %v", missing, err, time.Since(began))
		}
	})
}

func TestWaitEndsWhereThereIsNoPoint(t *testing.T) {
	gone := errors.New("it ended")
	_, err := ready.Wait(t.Context(), func(context.Context) (string, error) { return "", gone }, func(string) { t.Error("told") })
	if !errors.Is(err, gone) {
		t.Errorf("err = %v", err)
	}
}

func TestAnswersWantsTheStatus(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	if err := ready.Answers(t.Context(), s.URL, http.StatusNotFound); err != nil {
		t.Error(err)
	}
	if err := ready.Answers(t.Context(), s.URL, http.StatusOK); err == nil || !strings.Contains(err.Error(), "answers 404") {
		t.Errorf("err = %v", err)
	}
}
