package athflow

import (
	"errors"
	"net/url"
	"strings"

	"github.com/athd/athd/ath"
)

// An Operator is who runs this athd, as users read it: whom to ask to end what an
// agent may do.
type Operator struct {
	Name    string // "": not said
	Contact Contact
}

// A Contact is where users reach somebody: a mail address or an https page. The
// zero value is none.
type Contact struct{ address, page string }

const maxContactBytes = 200

// ParseContact reads a mail address, a mailto: URL of one, or an https URL. Nothing
// else is a link on a page of ours, a javascript: URL least of all.
func ParseContact(s string) (Contact, error) {
	wrong := errors.New("want a mail address, mailto: and one, or an https URL")
	if len(s) > maxContactBytes || !ath.IsVisible(s) {
		return Contact{}, wrong
	}
	if address, mail := strings.CutPrefix(s, "mailto:"); mail || !strings.Contains(s, ":") {
		local, domain, ok := strings.Cut(address, "@")
		host, err := ath.ParseHost(domain)
		if !ok || err != nil || host.Port() != 0 || local == "" || strings.Trim(local, localPart) != "" {
			return Contact{}, wrong
		}
		return Contact{address: address}, nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || !strings.HasPrefix(s, "https://") || !ath.ValidURLBytes(s) {
		return Contact{}, wrong
	}
	if _, err := ath.ParseHost(u.Host); err != nil {
		return Contact{}, wrong
	}
	return Contact{page: s}, nil
}

// localPart are the characters of a mail address that mean nothing in a URL.
const localPart = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.+_-"

// IsZero reports whether nobody is named.
func (c Contact) IsZero() bool { return c == Contact{} }

// String is what users read.
func (c Contact) String() string { return c.address + c.page }

// URL is where the link leads.
func (c Contact) URL() string {
	if c.address != "" {
		return "mailto:" + c.address
	}
	return c.page
}
