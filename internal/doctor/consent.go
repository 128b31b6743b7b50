package doctor

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/internal/probe"
)

// consent looks at the host of the consent pages: the pages are there, and
// nothing else is.
func (d *doctor) consent(ctx context.Context, f *findings) {
	const asked = "whether the consent pages are at consent_url, and nothing else is there"
	at := d.consentURL(ctx)
	switch {
	case at == "" && d.PublicURL == "":
		f.notAsked("pages", asked, "the public URL is not known", "athctl doctor --server URL, or --config athd.yaml")
		return
	case at == "":
		f.notAsked("pages", asked, "where the public URL leads is not known", "")
		return
	}
	own := at != d.PublicURL
	if lead := d.lead(ctx); !own && lead.Kind != "" {
		f.notAsked("pages", asked, "they are on public_url, which does not lead to athd", "see what is said of the public URL above")
		return
	}
	if own && !d.resolves(ctx, at, "consent_url", f) {
		return
	}
	bootstrap := "athd bootstrap --config " + d.file() + " > envoy.yaml, and restart Envoy"
	// Without a session it is refused; that athd refuses it is the answer.
	page, err := d.look(ctx, at+ath.ConsentStartPath)
	if err != nil {
		cause, cure := whyNot(err, hostOf(at), "consent_url in "+d.file(), "")
		f.fault("pages", asked, cause, cure)
		return
	}
	if !strings.HasPrefix(page.decision, "dec_") {
		f.fault("pages", asked, fmt.Sprintf("%s%s is not answered by athd (HTTP status %d): users cannot consent", at, ath.ConsentStartPath, page.status), bootstrap)
		return
	}
	if !own {
		f.ok("pages", asked, "the pages are on public_url, beside the APIs")
		return
	}
	alone := true
	for _, path := range []string{"/", ath.DiscoveryPath, ath.ProxyPath + "x/"} {
		other, err := d.look(ctx, at+path)
		if err == nil && other.status != http.StatusNotFound {
			alone = false
			f.fault("alone", asked, fmt.Sprintf("%s%s is answered too (HTTP status %d): a script there could consent in a user's name", at, path, other.status), bootstrap+"; on consent_url's host no other route may be")
		}
	}
	if alone {
		f.ok("pages", asked, at+" has them, and nothing else")
	}
}

// consentURL is where the pages are: by the configuration, or by what athd says.
func (d *doctor) consentURL(ctx context.Context) string {
	if d.Settings != nil {
		return d.Settings.ConsentURL
	}
	if d.PublicURL == "" {
		return ""
	}
	lead := d.lead(ctx)
	switch {
	case lead.Kind != "":
		return ""
	case lead.Gateway.Consent != "":
		return lead.Gateway.Consent
	}
	return d.PublicURL
}

// A page is what is answered at a URL.
type page struct {
	status   int
	decision string
}

// look asks as a program that follows nothing and keeps no cookie.
func (d *doctor) look(ctx context.Context, u string) (page, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return page{}, err
	}
	client := &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10, DialContext: probe.Dial,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // what public.tls says of certificates need not be said twice
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return page{}, withoutURL(err)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	p := page{resp.StatusCode, resp.Header.Get("X-ATH-Decision-ID")}
	d.asked.add(p.decision)
	return p, nil
}

// An idList is safe for concurrent use.
type idList struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (l *idList) add(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ids == nil {
		l.ids = map[string]bool{}
	}
	l.ids[id] = true
}

func (l *idList) has(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ids[id]
}
