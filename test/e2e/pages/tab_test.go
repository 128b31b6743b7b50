package pages

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is how long a page may take to come.
const patience = time.Minute

// A tab is a tab of Chromium and what happened in it. When the test ends, it
// fails if a page had a fault, opened a dialog or asked a host that is none of
// ours.
type tab struct {
	t   testing.TB
	ctx context.Context

	mu        sync.Mutex
	documents []document
	hosts     []string // of all requests
	referers  []string // as sent
	faults    []string // errors on the console, exceptions, dialogs
	pardoned  []string // parts of faults that a test is about
}

// A document is the answer to a navigation.
type document struct {
	url    *url.URL
	status int
	header map[string]string // names in lower case
}

// newBrowser opens a tab in a browser of its own: no other one has its cookies.
func newBrowser(t testing.TB) *tab {
	t.Helper()
	return newTab(t, startChromium(t), chromedp.WithNewBrowserContext())
}

// another opens a tab in the same browser, for this test or for one below it.
func (b *tab) another(t testing.TB) *tab {
	t.Helper()
	return newTab(t, b.ctx)
}

func newTab(t testing.TB, parent context.Context, options ...chromedp.ContextOption) *tab {
	t.Helper()
	b := &tab{t: t}
	ctx, cancel := chromedp.NewContext(parent, append(options, chromedp.WithListener(b.note))...)
	b.ctx = ctx
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("a tab ended at %s\nwhich said: %s", b.where(), b.text("body"))
		}
		cancel()
		b.judge()
	})
	// The tab lives as long as the context of its first run.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("a new tab: %v", err)
	}
	return b
}

// note keeps what Chromium says about the tab.
func (b *tab) note(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err == nil && u.Host != "" {
			b.hosts = append(b.hosts, u.Host)
		}
		if e.RedirectResponse != nil {
			b.documents = append(b.documents, newDocument(e.RedirectResponse))
		}
	case *network.EventRequestWillBeSentExtraInfo:
		for name, value := range e.Headers {
			if s, _ := value.(string); strings.EqualFold(name, "Referer") {
				b.referers = append(b.referers, s)
			}
		}
	case *network.EventResponseReceived:
		if e.Type == network.ResourceTypeDocument {
			b.documents = append(b.documents, newDocument(e.Response))
		}
	case *log.EventEntryAdded:
		// A page with an error status is reported here, too: those are judged
		// by what they show.
		if e.Entry.Level == log.EntryLevelError && !strings.HasPrefix(e.Entry.Text, "Failed to load resource: the server responded with a status of") {
			b.faults = append(b.faults, e.Entry.Text)
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError {
			b.faults = append(b.faults, "console.error")
		}
	case *runtime.EventExceptionThrown:
		b.faults = append(b.faults, "exception: "+e.ExceptionDetails.Text)
	case *page.EventJavascriptDialogOpening:
		b.faults = append(b.faults, "dialog: "+e.Message)
	}
}

func newDocument(r *network.Response) document {
	u, err := url.Parse(r.URL)
	if err != nil {
		u = &url.URL{}
	}
	d := document{url: u, status: int(r.Status), header: map[string]string{}}
	for name, value := range r.Headers {
		if s, ok := value.(string); ok {
			d.header[strings.ToLower(name)] = s
		}
	}
	return d
}

func (b *tab) judge() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, fault := range b.faults {
		if !slices.ContainsFunc(b.pardoned, func(part string) bool { return strings.Contains(fault, part) }) {
			b.t.Errorf("the browser complains: %s", fault)
		}
	}
	for _, host := range b.hosts {
		name, _, _ := strings.Cut(host, ":")
		if !slices.Contains([]string{"127.0.0.1", "localhost", evilHost, consentHost, "gateway." + twoHosts, "consent." + twoHosts}, name) {
			b.t.Errorf("a page asked %s", host)
		}
	}
}

// pardon keeps faults that a test is about out of judgement.
func (b *tab) pardon(parts ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pardoned = parts
}

// complained says whether the browser has reported such a fault.
func (b *tab) complained(part string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.faults, func(fault string) bool { return strings.Contains(fault, part) })
}

// visited returns the answers to navigations whose path is this.
func (b *tab) visited(path string) []document {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(func(yield func(document) bool) {
		for _, d := range b.documents {
			if d.url.Path == path && !yield(d) {
				return
			}
		}
	})
}

func (b *tab) sentReferers() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.referers)
}

func (b *tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
}

func (b *tab) open(target string) { b.t.Helper(); b.do("open "+target, chromedp.Navigate(target)) }
func (b *tab) back()              { b.t.Helper(); b.do("back", chromedp.NavigateBack()) }
func (b *tab) reload()            { b.t.Helper(); b.do("reload", chromedp.Reload()) }
func (b *tab) await(sel string) {
	b.t.Helper()
	b.do("wait for "+sel, chromedp.WaitVisible(chromedp.CSS(sel)))
}
func (b *tab) click(sel string) {
	b.t.Helper()
	b.do("click "+sel, chromedp.Click(chromedp.CSS(sel), chromedp.NodeVisible))
}
func (b *tab) fill(sel, text string) {
	b.t.Helper()
	b.do("fill "+sel, chromedp.SendKeys(chromedp.CSS(sel), text, chromedp.NodeVisible))
}

// evaluate runs a script of the test's in the tab. Pages' own are forbidden.
func evaluate[T any](b *tab, script string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](script))
	if err != nil {
		b.t.Errorf("evaluate %s: %v", script, err)
	}
	return v
}

// text returns the text of the first element, or "" where there is none.
func (b *tab) text(sel string) string {
	b.t.Helper()
	return evaluate[string](b, "(document.querySelector('"+sel+"') || {}).textContent || ''")
}

func (b *tab) where() *url.URL {
	b.t.Helper()
	u, err := url.Parse(evaluate[string](b, "location.href"))
	if err != nil {
		b.t.Fatal(err)
	}
	return u
}

func (b *tab) cookies(of string) []*network.Cookie {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	reply, err := chromedp.Call(ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{of}})
	if err != nil {
		b.t.Fatal(err)
	}
	return reply.Cookies
}

// resize makes the tab as wide as a device, light or dark.
func (b *tab) resize(width, height int64, scheme string) {
	b.t.Helper()
	b.do("resize", chromedp.EmulateViewport(width, height), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	}))
}
