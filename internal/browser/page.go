package browser

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// A Page is what came back from a navigation.
type Page struct {
	URL     *url.URL
	Stopped bool // the browser did not go to URL: see [Browser.StopAt]
	Status  int
	Header  http.Header
	Body    string
	Title   string
	Text    string // what a person reads, with runs of white space as one space
	Forms   []*Form

	location *url.URL // of an HTTP redirect
	refresh  *url.URL // of a meta refresh
}

// Form returns the page's only form. Of a page with no form, or with several,
// it returns a form that cannot be submitted: the error says so then.
func (p *Page) Form() *Form {
	if len(p.Forms) != 1 {
		return &Form{err: fmt.Errorf("%s has %d forms, want one (status %d: %q)",
			p.URL.Redacted(), len(p.Forms), p.Status, shorten(p.Text, 200))}
	}
	return p.Forms[0]
}

func newPage(u *url.URL, resp *http.Response, body []byte) (*Page, error) {
	p := &Page{URL: u, Status: resp.StatusCode, Header: resp.Header, Body: string(body)}
	if isRedirect(resp.StatusCode) {
		// A redirect without a Location is a page like any other.
		if location := resp.Header.Get("Location"); location != "" {
			next, err := u.Parse(location)
			if err != nil {
				return nil, fmt.Errorf("location: %w", err)
			}
			p.location = next
			return p, nil
		}
	}
	if mediaType(resp.Header) != "text/html" {
		p.Text = p.Body
		return p, nil
	}
	// Parse accepts everything, as browsers do; only reading can fail.
	doc, err := html.Parse(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	p.read(doc)
	return p, nil
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// next says where the browser goes from here without being asked.
func (p *Page) next(n navigation) (navigation, bool, error) {
	switch {
	case p.location != nil && p.location.Scheme == "":
		return navigation{}, false, errors.New("redirect without a scheme")
	case p.location != nil:
		to := navigation{method: http.MethodGet, url: p.location, initiator: n.initiator}
		if p.Status == http.StatusTemporaryRedirect || p.Status == http.StatusPermanentRedirect {
			to.method, to.body = n.method, n.body
		}
		// A redirect that has once left the site stays cross-site.
		if n.initiator != nil && origin(n.url) != origin(p.location) {
			to.initiator = n.url
		}
		return to, true, nil
	case p.refresh != nil && p.refresh.String() != p.URL.String():
		return navigation{method: http.MethodGet, url: p.refresh, initiator: p.URL}, true, nil
	}
	return navigation{}, false, nil
}

func mediaType(h http.Header) string {
	value, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(value))
}

func (p *Page) read(doc *html.Node) {
	var words []string
	for node := range doc.Descendants() {
		switch {
		case node.Type == html.TextNode && !hidden(node):
			words = append(words, strings.Fields(node.Data)...)
		case node.Type != html.ElementNode:
		case node.DataAtom == atom.Title:
			p.Title = strings.Join(strings.Fields(textOf(node)), " ")
		case node.DataAtom == atom.Meta && strings.EqualFold(attr(node, "http-equiv"), "refresh"):
			p.refresh = p.refreshTarget(attr(node, "content"))
		case node.DataAtom == atom.Form:
			p.Forms = append(p.Forms, newForm(p.URL, node))
		}
	}
	p.Text = strings.Join(words, " ")
}

// hidden reports whether a text node is not for people to read.
func hidden(n *html.Node) bool {
	switch n.Parent.DataAtom {
	case atom.Script, atom.Style, atom.Title, atom.Template:
		return true
	}
	return false
}

var refreshContent = regexp.MustCompile(`(?i)^\s*\d+(?:\.\d*)?\s*[;,]\s*url\s*=\s*(.*?)\s*$`)

// refreshTarget reads the content of a meta refresh: "0; url=/next". It is
// nil where the page only reloads itself. The delay is not waited for.
func (p *Page) refreshTarget(content string) *url.URL {
	m := refreshContent.FindStringSubmatch(content)
	if m == nil {
		return nil
	}
	u, err := p.URL.Parse(strings.Trim(m[1], `'"`))
	if err != nil {
		return nil
	}
	return u
}

func textOf(n *html.Node) string {
	var text strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			text.WriteString(d.Data)
		}
	}
	return text.String()
}

func attr(n *html.Node, name string) string {
	value, _ := lookupAttr(n, name)
	return value
}

func lookupAttr(n *html.Node, name string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val, true
		}
	}
	return "", false
}

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
