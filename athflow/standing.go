package athflow

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/tokenstore"
)

// A standing is what the consent page says of how long an agent may go on without
// asking again, and whom the user asks to end it.
type standing struct {
	Max, Idle string // of a standing consent, in words; "": there is none, or nothing more to say
	Token     string // how long one token lives, in words
	Shown     string // the form's field by which the page brings back what it said
	Provider  string
	RunBy     Operator
}

func (f *Flow) standing(v *visit, providerName string, terms ath.RenewalTerms) standing {
	s := standing{Token: inWords(f.TokenTTL), Provider: providerName, RunBy: f.RunBy, Shown: termsField(v.session, v.nonce, terms)}
	s.RunBy.Name = shown(s.RunBy.Name)
	if !terms.IsZero() {
		s.Max = inWords(terms.Max)
		if terms.Idle < terms.Max {
			s.Idle = inWords(terms.Idle)
		}
	}
	return s
}

// termsField is the form's field for the terms that a page shows to one browser
// (T-8). The page of an athd that shows none has no such field, and nobody else can
// write one: an agent gets a renewal only where its user has read how long.
func termsField(s *tokenstore.Session, nonce string, terms ath.RenewalTerms) string {
	if terms.IsZero() {
		return ""
	}
	return terms.String() + "." + bindingMAC(s, "renewal "+terms.String(), nonce)
}

var errTermsNotShown = errors.New("the form's renewal is not what the page showed in this browser")

// termsShown reads the field. None is no standing consent.
func termsShown(s *tokenstore.Session, nonce, field string) (ath.RenewalTerms, error) {
	if field == "" {
		return ath.RenewalTerms{}, nil
	}
	text, _, _ := strings.Cut(field, ".")
	terms, err := ath.ParseRenewalTerms(text)
	if err != nil || !ath.NewSecret(termsField(s, nonce, terms)).Equal(field) {
		return ath.RenewalTerms{}, errTermsNotShown
	}
	return terms, nil
}

// maxShown is how many browsers may allow one session's page, and have their user's
// consent stand: any more of them end in a token alone.
const maxShown = 20

// agree keeps with the session what its user has just read and allowed in this
// browser. The last page that was allowed there counts, and what others allow, who
// may have read something else, does not.
func (f *Flow) agree(ctx context.Context, v *visit, terms ath.RenewalTerms) error {
	for range 4 {
		was := v.session.Shown
		if v.agreed() == terms || v.agreed().IsZero() && len(was) >= maxShown {
			return nil
		}
		next := *v.session
		next.Shown = make(map[string]ath.RenewalTerms, len(was)+1)
		maps.Copy(next.Shown, was)
		next.Shown[shownIn(v.session, v.nonce)] = terms
		held, err := f.Store.SwapSession(ctx, v.held, next)
		if errors.Is(err, tokenstore.ErrChanged) { // allowed in another tab, too, or ended
			held, err = f.Store.Session(ctx, v.tag)
		}
		if err != nil {
			return usedBy(err)
		}
		v.held, v.session = held, &held.Value
		if err := v.stillOpen(); err != nil {
			return err
		}
	}
	return usedBy(tokenstore.ErrChanged)
}

// agreed are the terms that were allowed last in this browser; zero: none.
func (v *visit) agreed() ath.RenewalTerms { return v.session.Shown[shownIn(v.session, v.nonce)] }

// shownIn names a browser in [tokenstore.Session].Shown.
func shownIn(s *tokenstore.Session, nonce string) string { return bindingMAC(s, "shown", nonce) }

// inWords is a duration as people say it: in the largest unit that it is whole in.
func inWords(d time.Duration) string {
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if d >= unit.of && d%unit.of == 0 {
			return several(int64(d/unit.of), unit.name)
		}
	}
	return several(int64((d+time.Second-1)/time.Second), "second")
}

func several(n int64, unit string) string {
	if n != 1 {
		unit += "s"
	}
	return strconv.FormatInt(n, 10) + " " + unit
}
