package identityhosts

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// A nameServer answers for every name, as the tests tell it: each name has
// its own lies.
type nameServer struct {
	packets []net.PacketConn // several, so that a burst of questions finds room
	streams net.Listener
	next    atomic.Int64

	mu    sync.Mutex
	names map[string]*name
}

// A name is what is said of one name, and how often it was asked for.
type name struct {
	say   func(query) answer
	asked map[dnsmessage.Type]int // questions, over UDP
}

// A query is one question that was asked.
type query struct {
	question dnsmessage.Question
	lookup   int  // 1 for the first lookup of this name and type
	tcp      bool // asked again after a truncated answer
}

// An answer is what is said. Its zero value is a name without addresses.
type answer struct {
	addrs     []netip.Addr
	cnames    []string // a chain, from the name asked for to the one that has the addresses
	code      dnsmessage.RCode
	truncated bool
	silent    bool
	after     time.Duration
	spoil     func(packed []byte) []byte // the bytes on the wire
}

// newNameServer starts the server and makes it the one that every name of
// this process is looked up at.
func newNameServer(t *testing.T) *nameServer {
	t.Helper()
	streams, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{streams: streams, names: map[string]*name{}}
	var serving sync.WaitGroup
	serving.Go(s.serveStreams)
	for range 16 {
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s.packets = append(s.packets, packets)
		serving.Go(func() { s.servePackets(packets) })
	}

	asked.Store(s)
	t.Cleanup(func() {
		asked.Store(nil)
		for _, packets := range s.packets {
			packets.Close()
		}
		streams.Close()
		serving.Wait()
	})
	return s
}

// asked is the name server of the test that runs.
var asked atomic.Pointer[nameServer]

// resolveHere makes every lookup of this process ask it. That is done once,
// before any test: a lookup that a test has left behind may still read the
// resolver.
func resolveHere() {
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		s := asked.Load()
		if s == nil {
			return nil, errors.New("no name server runs")
		}
		address := s.packets[s.next.Add(1)%int64(len(s.packets))].LocalAddr().String()
		if strings.HasPrefix(network, "tcp") {
			address = s.streams.Addr().String()
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
}

// add makes the server answer for a name.
func (s *nameServer) add(domain string, say func(query) answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[domain+"."] = &name{say: say, asked: map[dnsmessage.Type]int{}}
}

// lookups returns how often the addresses of a name were asked for.
func (s *nameServer) lookups(domain string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names[domain+"."].asked[dnsmessage.TypeA]
}

func (s *nameServer) servePackets(packets net.PacketConn) {
	buffer := make([]byte, 4096)
	for {
		n, from, err := packets.ReadFrom(buffer)
		if err != nil {
			return
		}
		s.answer(buffer[:n], false, func(reply []byte) { packets.WriteTo(reply, from) })
	}
}

func (s *nameServer) serveStreams() {
	for {
		conn, err := s.streams.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			var size [2]byte
			if _, err := io.ReadFull(conn, size[:]); err != nil {
				return
			}
			asked := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(conn, asked); err != nil {
				return
			}
			s.answer(asked, true, func(reply []byte) {
				conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
			})
		}()
	}
}

func (s *nameServer) answer(asked []byte, tcp bool, send func([]byte)) {
	var message dnsmessage.Message
	if message.Unpack(asked) != nil || len(message.Questions) != 1 {
		return
	}
	question := message.Questions[0]
	a := answer{code: dnsmessage.RCodeNameError}
	s.mu.Lock()
	if n := s.names[strings.ToLower(question.Name.String())]; n != nil {
		if !tcp {
			n.asked[question.Type]++
		}
		a = n.say(query{question: question, lookup: n.asked[question.Type], tcp: tcp})
	}
	s.mu.Unlock()
	if a.silent {
		return
	}
	reply, err := a.pack(message.ID, question)
	if err != nil {
		return
	}
	if a.after == 0 || tcp {
		send(reply)
		return
	}
	time.AfterFunc(a.after, func() { send(reply) })
}

func (a answer) pack(id uint16, question dnsmessage.Question) ([]byte, error) {
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, Response: true, RecursionAvailable: true, RecursionDesired: true, RCode: a.code, Truncated: a.truncated},
		Questions: []dnsmessage.Question{question},
	}
	owner := question.Name
	for _, next := range a.cnames {
		target, err := dnsmessage.NewName(next + ".")
		if err != nil {
			return nil, err
		}
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: header(owner, dnsmessage.TypeCNAME), Body: &dnsmessage.CNAMEResource{CNAME: target}})
		owner = target
	}
	for _, addr := range a.addrs {
		switch {
		case addr.Is4() && question.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header(owner, dnsmessage.TypeA), Body: &dnsmessage.AResource{A: addr.As4()}})
		case addr.Is6() && question.Type == dnsmessage.TypeAAAA: // IPv4-mapped ones too
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header(owner, dnsmessage.TypeAAAA), Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}})
		}
	}
	packed, err := m.Pack()
	if err == nil && a.spoil != nil {
		packed = a.spoil(packed)
	}
	return packed, err
}

// header is that of a record which nobody may keep.
func header(owner dnsmessage.Name, kind dnsmessage.Type) dnsmessage.ResourceHeader {
	return dnsmessage.ResourceHeader{Name: owner, Type: kind, Class: dnsmessage.ClassINET, TTL: 0}
}
