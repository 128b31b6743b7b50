package shop

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// maxSeen is how many requests are remembered.
const maxSeen = 100

// A Request is one request as it arrived at the shop.
type Request struct {
	Time   time.Time
	Method string
	Target string // path and query, as they came
	Host   string
	Header http.Header
}

// Seen returns the last 100 requests that arrived, refused ones included,
// oldest first.
func (s *Shop) Seen() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

func (s *Shop) record(r *http.Request) {
	request := Request{
		Time:   time.Now(),
		Method: r.Method,
		Target: r.RequestURI,
		Host:   r.Host,
		Header: r.Header.Clone(),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) == maxSeen {
		s.seen = slices.Delete(s.seen, 0, 1)
	}
	s.seen = append(s.seen, request)
}

// ATH returns the names of the request's headers that start with X-ATH-,
// sorted. Behind athd there are none.
func (r Request) ATH() []string {
	var names []string
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Ath-") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
