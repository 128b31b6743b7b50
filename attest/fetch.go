package attest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/athd/athd/ath"
)

const (
	fetchTimeout = 5 * time.Second

	minFresh = 10 * time.Second
	maxFresh = 5 * time.Minute
)

// fetchDocument gets and reads the document of an agent, and says for how
// long it may be kept.
func fetchDocument(ctx context.Context, client *http.Client, agent ath.AgentID, allowHTTP bool, turn func(context.Context, func()) error) (*document, time.Duration, error) {
	if !allowHTTP && !strings.HasPrefix(agent.String(), "https://") {
		return nil, 0, errors.New("agent_id is not an https URL")
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, agent.String(), nil)
	if err != nil {
		return nil, 0, errors.New("agent_id cannot be fetched")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "athd")
	ath.AskPlain(req.Header)
	res, err := client.Do(req)
	if err != nil {
		return nil, 0, transport(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		err := fmt.Errorf("HTTP status %d", res.StatusCode)
		if away(res.StatusCode) {
			err = unreachable{err}
		}
		return nil, 0, err
	}
	body, err := ath.ReadBody(res, maxDocumentBytes)
	if errors.Is(err, ath.ErrBodyTooLarge) {
		return nil, 0, fmt.Errorf("the document is larger than %d bytes", maxDocumentBytes)
	}
	if err != nil {
		return nil, 0, transport(err)
	}
	// A host may end its answer when it hears us give up: what came by then is
	// cut off, and does not look so.
	if err := ctx.Err(); err != nil {
		return nil, 0, transport(err)
	}
	var doc *document
	parse := func() { doc, err = parseDocument(body, agent) }
	if turn(ctx, parse) != nil { // it was long in coming: the fetch must not have been for nothing
		parse()
	}
	if err != nil {
		return nil, 0, err
	}
	return doc, freshness(res.Header.Get("Cache-Control")), nil
}

// freshness reads Cache-Control (RFC 9111, section 5.2.2) within the bounds of
//
func freshness(header string) time.Duration {
	fresh := maxFresh
	for directive := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return minFresh
		case "max-age":
			seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
			if err != nil {
				return minFresh
			}
			fresh = min(fresh, time.Duration(seconds)*time.Second)
		}
	}
	return max(fresh, minFresh)
}

// bare takes the URL out of an error, and bounds what the host made it quote.
func bare(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if text := err.Error(); len(text) > 300 {
		return errors.New(text[:300] + "…")
	}
	return err
}
