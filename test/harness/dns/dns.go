// Package dns has a name server for tests, whose answers change while it runs.
package dns

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// A Server answers what it is told, on loopback, until the test ends. What it was
// not told does not exist.
type Server struct {
	Addr string // host:port, over UDP

	mu      sync.Mutex
	answers map[string][]netip.Addr
	silent  map[string]bool
	asked   map[string]int
}

// Start runs a server.
func Start(t testing.TB) *Server {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s := &Server{Addr: conn.LocalAddr().String(), answers: map[string][]netip.Addr{}, silent: map[string]bool{}, asked: map[string]int{}}
	go s.serve(conn)
	return s
}

// Set makes a name stand for these addresses, in this order, for a second.
func (s *Server) Set(name string, addresses ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[name] = nil
	for _, a := range addresses {
		s.answers[name] = append(s.answers[name], netip.MustParseAddr(a))
	}
}

// Hang leaves questions for a name without an answer.
func (s *Server) Hang(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent[name] = true
}

// Asked is how often a name was asked for.
func (s *Server) Asked(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[name]
}

func (s *Server) serve(conn net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		if reply, ok := s.answer(m); ok {
			conn.WriteTo(reply, from)
		}
	}
}

func (s *Server) answer(m dnsmessage.Message) ([]byte, bool) {
	q := m.Questions[0]
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[name]++
	if s.silent[name] {
		return nil, false
	}
	m.Response, m.Additionals, m.Answers = true, nil, nil
	known, there := s.answers[name]
	if !there {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, a := range known {
		head := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}
		switch {
		case q.Type == dnsmessage.TypeA && a.Is4():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: a.As4()}})
		case q.Type == dnsmessage.TypeAAAA && !a.Is4():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	out, err := m.Pack()
	return out, err == nil
}
