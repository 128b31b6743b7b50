// Package ready waits for what starts, and says for what.
package ready

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

const (
	pause    = 50 * time.Millisecond // between two looks
	patience = 3 * time.Second       // for one answer
)

// Wait looks until nothing is missing. look returns what is missing now, for
// people, or "", or why there is no point in waiting. tell hears what is
// missing, each time that it is something else. Where ctx ends first the error
// is its own, and missing is what was so in the end.
func Wait(ctx context.Context, look func(context.Context) (string, error), tell func(string)) (missing string, err error) {
	for {
		now, err := look(ctx)
		if err != nil || now == "" {
			return now, err
		}
		// A look that the end has cut short has seen nothing.
		if now != missing && (ctx.Err() == nil || missing == "") {
			missing = now
			tell(missing)
		}
		select {
		case <-ctx.Done():
			return missing, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// Answers returns why the URL does not answer with the status.
func Answers(ctx context.Context, url string, status int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != status {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return nil
}
