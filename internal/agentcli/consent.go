package agentcli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/internal/browser"
	"github.com/athd/athd/internal/cli"
)

var codeOnPage = regexp.MustCompile(`ath_code_[\w-]+`)

// driveBrowser is the user's browser at the demo's OAuth server, for a walk that
// nobody watches: it allows on athd's page, logs in, and allows again.
func (w *handshakeRun) driveBrowser(ctx context.Context) (ath.Secret, error) {
	user, password, ok := strings.Cut(w.consentWith, ":")
	if !ok || user == "" {
		return ath.Secret{}, cli.Wrong("--consent-with wants USER:PASSWORD")
	}
	b := browser.New()
	defer b.Close()
	if w.back.listener == nil && w.back.uri != "" {
		b.StopAt(func(u *url.URL) bool { return strings.HasPrefix(u.String(), w.back.uri) })
	}
	answered := make(chan answer, 1)
	if w.back.listener != nil {
		go func() { // ends with ctx
			code, err := w.awaitCode(ctx, w.session, w.back)
			answered <- answer{code, err}
		}()
	}
	page, err := w.browse(ctx, b, user, password)
	w.out.Browsing(b.Steps())
	if err != nil {
		return ath.Secret{}, err
	}
	w.out.Detail("     page %q: %s", page.Title, cli.Printable(page.Text, 300))
	expected := w.pending(w.session)
	switch {
	case w.back.listener != nil && page.URL.Path == callbackPath && page.Status == http.StatusOK:
		got := <-answered
		return got.code, got.err
	case page.Stopped:
		return expected.pasted(page.URL.String())
	}
	if code := codeOnPage.FindString(page.Body); code != "" && page.Status == http.StatusOK {
		return ath.NewSecret(code), nil
	}
	return ath.Secret{}, fmt.Errorf("the browser ends at a page with status %d and without a code: %s", page.Status, cli.Printable(page.Text, 300))
}

func (w *handshakeRun) browse(ctx context.Context, b *browser.Browser, user, password string) (*browser.Page, error) {
	page, err := b.Get(ctx, w.link)
	for range 4 { // our page, log-in, consent, and the way back
		if err != nil {
			return nil, fmt.Errorf("the user's browser: %w", err)
		}
		if page.Stopped || len(page.Forms) != 1 {
			return page, nil
		}
		form := page.Form()
		if len(form.Values("password")) > 0 {
			form = form.Fill("username", user).Fill("password", password)
		} else {
			form = form.Click("Allow")
		}
		page, err = b.Submit(ctx, form)
	}
	if err != nil {
		return nil, fmt.Errorf("the user's browser: %w", err)
	}
	if len(page.Forms) > 0 {
		return nil, errors.New("the user's browser is asked again and again: are user name and password right?")
	}
	return page, nil
}
