package processor

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// A WireFault is one way to spoil a stream by the frames or the connection that
// carry it.
type WireFault struct {
	Name   string
	Right  bool // as of a [Fault]
	Silent bool
	Do     func(w *Wire, right []byte)
}

// A Wire is a stream of HTTP/2, as whoever speaks frames sees it.
type Wire struct {
	*http2.Framer
	ID uint32

	conn    net.Conn
	encoded bytes.Buffer
	encoder *hpack.Encoder
	begun   bool // the reply's head is sent
}

// Head sends the head of the reply, or its trailers.
func (w *Wire) Head(end bool, pairs ...string) {
	w.encoded.Reset()
	for i := 0; i < len(pairs); i += 2 {
		w.encoder.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	w.WriteHeaders(http2.HeadersFrameParam{StreamID: w.ID, BlockFragment: w.encoded.Bytes(), EndHeaders: true, EndStream: end})
	w.begun = true
}

func (w *Wire) begin() {
	if !w.begun {
		w.Head(false, ":status", "200", "content-type", "application/grpc")
	}
}

// Message sends a message of gRPC.
func (w *Wire) Message(data []byte) {
	w.begin()
	w.WriteData(w.ID, false, framed(data))
}

// framed is a message as gRPC frames it.
func framed(data []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(data))), data...)
}

// reset closes the connection by RST, so that what was sent last may never arrive.
func (w *Wire) reset() {
	if c, ok := w.conn.(*net.TCPConn); ok {
		c.SetLinger(0)
	}
	w.conn.Close()
}

// SpoiledWire speaks HTTP/2 with Envoy, frame by frame, and does what the fault does
// to each stream of ext_proc at the moment; other streams are told that all is well.
// With [Opening], the fault comes when the stream opens, before its first message.
func SpoiledWire(answer Answer, at Moment, fault WireFault) func(net.Conn) {
	return func(conn net.Conn) {
		defer conn.Close()
		preface := make([]byte, len(http2.ClientPreface))
		if _, err := io.ReadFull(conn, preface); err != nil {
			return
		}
		framer := http2.NewFramer(conn, conn)
		framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		framer.WriteSettings()
		streams := map[uint32]*wired{}
		for {
			frame, err := framer.ReadFrame()
			if err != nil {
				return
			}
			switch f := frame.(type) {
			case *http2.SettingsFrame:
				if !f.IsAck() {
					framer.WriteSettingsAck()
				}
			case *http2.PingFrame:
				if !f.IsAck() {
					framer.WritePing(true, f.Data)
				}
			case *http2.MetaHeadersFrame:
				w := &wired{Wire: Wire{Framer: framer, ID: f.StreamID, conn: conn}, md: metadata.MD{}}
				w.encoder = hpack.NewEncoder(&w.encoded)
				w.encoder.SetMaxDynamicTableSizeLimit(0) // the streams of a connection share one table
				streams[f.StreamID] = w
				for _, h := range f.Fields {
					w.md[h.Name] = append(w.md[h.Name], h.Value)
				}
				if w.ours() && at.Of == Opening {
					w.spoiled = true
					fault.Do(&w.Wire, marshal(answer(w.md, unread())))
				}
			case *http2.DataFrame:
				framer.WriteWindowUpdate(0, max(f.Length, 1))
				if w := streams[f.StreamID]; w != nil {
					w.data = append(w.data, f.Data()...)
					w.read(answer, at, fault)
				}
			}
		}
	}
}

// A wired stream is one whose messages are gathered from frames.
type wired struct {
	Wire
	md      metadata.MD
	data    []byte
	spoiled bool // nothing more is answered
}

func (w *wired) ours() bool {
	return strings.HasSuffix(strings.Join(w.md[":path"], ""), "/Process")
}

// read answers the messages that are whole.
func (w *wired) read(answer Answer, at Moment, fault WireFault) {
	for !w.spoiled && len(w.data) >= 5 && len(w.data) >= 5+int(binary.BigEndian.Uint32(w.data[1:5])) {
		n := 5 + int(binary.BigEndian.Uint32(w.data[1:5]))
		message := w.data[5:n]
		w.data = w.data[n:]
		if !w.ours() {
			w.Message([]byte{8, 1}) // grpc.health.v1: SERVING
			w.Head(true, "grpc-status", "0")
			continue
		}
		var q extprocv3.ProcessingRequest
		if proto.Unmarshal(message, &q) != nil {
			continue
		}
		right := marshal(answer(w.md, &q))
		switch here := PartOf(&q) == at.Of; {
		case !here:
			w.Message(right)
		default:
			if at.After {
				w.Message(right)
			}
			w.spoiled = true
			fault.Do(&w.Wire, right)
		}
	}
}

func marshal(m proto.Message) []byte {
	data, err := proto.Marshal(m)
	if err != nil {
		panic(err) // of a test's own making
	}
	return data
}

// slowly is more than Envoy waits for an answer.
const slowly = 3 * time.Second

// WireFaults are all ways to spoil a stream of HTTP/2.
func WireFaults() []WireFault {
	head := func(name string, pairs ...string) WireFault {
		return WireFault{Name: name, Do: func(w *Wire, _ []byte) { w.Head(true, pairs...) }}
	}
	grpc := func(name string, pairs ...string) WireFault {
		return head(name, append([]string{":status", "200", "content-type", "application/grpc"}, pairs...)...)
	}
	resets := func(code http2.ErrCode) WireFault {
		return WireFault{Name: "RST_STREAM " + code.String(), Do: func(w *Wire, _ []byte) { w.WriteRSTStream(w.ID, code) }}
	}
	goAway := func(name string, code http2.ErrCode, last func(*Wire) uint32) WireFault {
		return WireFault{Name: name, Do: func(w *Wire, _ []byte) {
			w.WriteGoAway(last(w), code, nil)
			w.conn.Close()
		}}
	}
	data := func(name string, end bool, of func(right []byte) []byte) WireFault {
		return WireFault{Name: name, Do: func(w *Wire, right []byte) {
			w.begin()
			w.WriteData(w.ID, end, of(right))
		}}
	}
	return []WireFault{
		grpc("trailers only, grpc-status 0", "grpc-status", "0"),
		grpc("trailers only, grpc-status 14", "grpc-status", "14"),
		grpc("trailers only, a grpc-status that is no number", "grpc-status", "fine"),
		grpc("trailers only, no grpc-status"),
		head("503 of something in between", ":status", "503", "content-type", "text/plain"),
		head("404 of something in between", ":status", "404"),
		head("a page of something in between", ":status", "200", "content-type", "text/html"),
		resets(http2.ErrCodeNo), resets(http2.ErrCodeCancel), resets(http2.ErrCodeRefusedStream), resets(http2.ErrCodeInternal), resets(http2.ErrCodeEnhanceYourCalm),
		goAway("GOAWAY, and the connection closes", http2.ErrCodeNo, func(w *Wire) uint32 { return w.ID }),
		goAway("GOAWAY that does not know the stream", http2.ErrCodeNo, func(*Wire) uint32 { return 0 }),
		goAway("GOAWAY ENHANCE_YOUR_CALM", http2.ErrCodeEnhanceYourCalm, func(w *Wire) uint32 { return w.ID }),
		{Name: "GOAWAY, and then silence", Silent: true, Do: func(w *Wire, _ []byte) { w.WriteGoAway(w.ID, http2.ErrCodeNo, nil) }},
		{Name: "the connection is reset", Do: func(w *Wire, _ []byte) { w.reset() }},
		{Name: "the connection is reset within the answer", Do: func(w *Wire, right []byte) {
			w.begin()
			w.WriteData(w.ID, false, framed(right)[:len(right)/2])
			w.reset()
		}},
		data("an end without grpc-status", true, func([]byte) []byte { return nil }),
		data("an end within the answer", true, func(right []byte) []byte { return framed(right)[:len(right)/2] }),
		data("an answer that says it is compressed", false, func(right []byte) []byte { return append([]byte{1}, framed(right)[1:]...) }),
		data("an answer of another length than it says", false, func(right []byte) []byte { return append(framed(right[:len(right)/2]), right...) }),
		data("an answer that says it is 4 GiB", true, func(right []byte) []byte { return append([]byte{0, 0xff, 0xff, 0xff, 0xff}, right...) }),
		{Name: "the answer, byte by byte", Silent: true, Do: func(w *Wire, right []byte) {
			w.begin()
			whole := framed(right)
			for _, b := range whole {
				if w.WriteData(w.ID, false, []byte{b}) != nil {
					return
				}
				time.Sleep(max(50*time.Millisecond, slowly/time.Duration(len(whole)))) // for as long as somebody listens
			}
		}},
		{Name: "bytes that are no frame", Do: func(w *Wire, _ []byte) { w.conn.Write(bytes.Repeat([]byte{0xff}, 64)) }},
	}
}

// A Connection is a way to spoil a connection before there is a stream on it.
type Connection struct {
	Name   string
	Silent bool
	Do     func(net.Conn)
}

// Connections are all of these.
func Connections() []Connection {
	greeting := func(c net.Conn, settings ...http2.Setting) *http2.Framer {
		f := http2.NewFramer(c, c)
		f.WriteSettings(settings...)
		return f
	}
	return []Connection{
		{"a connection that nobody reads", true, func(net.Conn) {}},
		{"a server that greets, and is silent", true, func(c net.Conn) { greeting(c) }},
		{"a server that allows no stream", true, func(c net.Conn) { greeting(c, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 0}) }},
		{"a connection that ends at once", false, func(c net.Conn) { c.Close() }},
		{"a connection that is reset at once", false, func(c net.Conn) { (&Wire{conn: c}).reset() }},
		{"a server that speaks HTTP/1.1", false, func(c net.Conn) { io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n") }},
		{"GOAWAY for a greeting", false, func(c net.Conn) { greeting(c).WriteGoAway(0, http2.ErrCodeNo, nil) }},
	}
}
