package browser

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/publicsuffix"
)

const (
	// MaxHops is how many redirects and refreshes one Get or Submit follows.
	MaxHops = 10
	// MaxPage is the longest page that is read, in bytes.
	MaxPage = 1 << 20
	// Timeout bounds each single request, reading its reply included.
	Timeout = 30 * time.Second
	// maxSteps bounds the log; the oldest steps go first.
	maxSteps = 1000
)

// ErrTooManyHops is returned where a chain of redirects does not end within
// [MaxHops].
var ErrTooManyHops = errors.New("too many redirects")

// ErrPageTooLong is returned for a page of more than [MaxPage] bytes.
var ErrPageTooLong = errors.New("page too long")

// A Step is one request that the browser made and what came back. It holds
// no values of forms, so that a log of steps shows no password.
type Step struct {
	Method   string
	URL      string
	Status   int
	Location string // of a redirect, as an absolute URL
}

func (s Step) String() string {
	text := fmt.Sprintf("%s %s → %d", s.Method, s.URL, s.Status)
	if s.Location != "" {
		text += " → " + s.Location
	}
	return text
}

// A Browser is one person's browser. It may be used by several goroutines,
// which then share its cookies, as tabs do.
type Browser struct {
	client *http.Client

	mu    sync.Mutex
	steps []Step
	stops []func(*url.URL) bool
}

// New returns a browser without cookies.
func New() *Browser {
	// New fails for no list of public suffixes that this package passes.
	jar, err := cookiejar.New(&cookiejar.Options{PublicSuffixList: publicsuffix.List})
	if err != nil {
		panic(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // it is for servers on this machine
	return &Browser{client: &http.Client{
		Jar:       jar,
		Transport: transport,
		Timeout:   Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}}
}

// StopAt makes the browser stop before it follows a redirect to a URL for
// which stop answers true. The page that it then returns has that URL,
// Stopped set and nothing else: so a redirect to an agent's own redirect URI
// can be read where nobody listens.
func (b *Browser) StopAt(stop func(*url.URL) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stops = append(b.stops, stop)
}

// Steps returns what the browser has done so far, oldest first.
func (b *Browser) Steps() []Step {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.steps)
}

// Cookies returns the cookies that a request to the URL would carry.
func (b *Browser) Cookies(u *url.URL) []*http.Cookie { return b.client.Jar.Cookies(u) }

// Close lets go of idle connections.
func (b *Browser) Close() { b.client.CloseIdleConnections() }

// Get opens a URL, as if it had been typed into the address bar. A page is
// returned for every status; an error means that there is no page.
func (b *Browser) Get(ctx context.Context, rawURL string) (*Page, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("browser: %w", err)
	}
	return b.navigate(ctx, navigation{method: http.MethodGet, url: u})
}

// Submit sends a form, with the button that was pressed in it.
func (b *Browser) Submit(ctx context.Context, f *Form) (*Page, error) {
	n, err := f.navigation()
	if err != nil {
		return nil, fmt.Errorf("browser: %w", err)
	}
	return b.navigate(ctx, n)
}

// A navigation is one request of a chain of them.
type navigation struct {
	method    string
	url       *url.URL
	body      string
	initiator *url.URL // the page that the person came from; nil: typed
}

func (b *Browser) navigate(ctx context.Context, n navigation) (*Page, error) {
	for range MaxHops + 1 {
		page, err := b.fetch(ctx, n)
		if err != nil {
			return nil, fmt.Errorf("browser: %s %s: %w", n.method, n.url.Redacted(), err)
		}
		next, follow, err := page.next(n)
		if err != nil {
			return nil, fmt.Errorf("browser: %s: %w", n.url.Redacted(), err)
		}
		if !follow {
			return page, nil
		}
		if b.stopsAt(next.url) {
			return &Page{URL: next.url, Stopped: true}, nil
		}
		n = next
	}
	return nil, fmt.Errorf("browser: %w", ErrTooManyHops)
}

func (b *Browser) stopsAt(u *url.URL) bool {
	b.mu.Lock()
	stops := slices.Clone(b.stops)
	b.mu.Unlock()
	return slices.ContainsFunc(stops, func(stop func(*url.URL) bool) bool { return stop(u) })
}

func (b *Browser) fetch(ctx context.Context, n navigation) (*Page, error) {
	if n.url.Scheme != "http" && n.url.Scheme != "https" {
		return nil, fmt.Errorf("scheme %q is not for a browser", n.url.Scheme)
	}
	req, err := http.NewRequestWithContext(ctx, n.method, n.url.String(), strings.NewReader(n.body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
	req.Header.Set("User-Agent", "athdemo-browser/1")
	req.Header.Set("Sec-Fetch-Dest", "document")
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	req.Header.Set("Sec-Fetch-Site", fetchSite(n.initiator, n.url))
	if n.method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", origin(n.initiator))
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxPage+1))
	if err != nil {
		return nil, err
	}
	if len(body) > MaxPage {
		return nil, ErrPageTooLong
	}
	page, err := newPage(n.url, resp, body)
	if err != nil {
		return nil, err
	}
	step := Step{Method: n.method, URL: n.url.String(), Status: resp.StatusCode}
	if page.location != nil {
		step.Location = page.location.String()
	}
	b.record(step)
	return page, nil
}

func (b *Browser) record(s Step) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.steps) == maxSteps {
		b.steps = b.steps[1:]
	}
	b.steps = append(b.steps, s)
}

func origin(u *url.URL) string {
	if u == nil {
		return "null"
	}
	return u.Scheme + "://" + u.Host
}

// fetchSite is the value of Sec-Fetch-Site, but that a subdomain counts as
// another site.
func fetchSite(from, to *url.URL) string {
	switch {
	case from == nil:
		return "none"
	case origin(from) == origin(to):
		return "same-origin"
	case from.Scheme == to.Scheme && from.Hostname() == to.Hostname():
		return "same-site"
	default:
		return "cross-site"
	}
}
