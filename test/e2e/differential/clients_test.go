package differential

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A client writes requests as they are and tells the status of the reply;
// "reset" or "closed" where there is none. It keeps its connection as long as
// Envoy does.
type client interface {
	send(try) string
	close()
}

// patience is for a machine that does much else.
const patience = 30 * time.Second

type h1Client struct {
	addr string
	conn net.Conn
	in   *bufio.Reader
}

func (c *h1Client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

func (c *h1Client) send(t try) string {
	fresh := c.conn == nil
	status, err := c.exchange(t)
	if err != nil && !fresh {
		c.close() // Envoy may have closed the connection meanwhile
		status, err = c.exchange(t)
	}
	if err != nil {
		c.close()
		return "closed"
	}
	return status
}

func (c *h1Client) exchange(t try) (string, error) {
	if c.conn == nil {
		conn, err := net.Dial("tcp", c.addr)
		if err != nil {
			return "", err
		}
		c.conn, c.in = conn, bufio.NewReader(conn)
	}
	c.conn.SetDeadline(time.Now().Add(patience))
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", t.method, t.target, t.door.host)
	for _, h := range t.headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h.name, h.value)
	}
	if t.body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(t.body))
	}
	b.WriteString("\r\n" + t.body)
	if _, err := io.WriteString(c.conn, b.String()); err != nil {
		return "", err
	}
	response, err := http.ReadResponse(c.in, &http.Request{Method: t.method})
	if err != nil {
		return "", err
	}
	_, err = io.Copy(io.Discard, response.Body)
	if response.Close || err != nil {
		c.close()
	}
	return strconv.Itoa(response.StatusCode), nil
}

type h2Client struct {
	addr    string
	conn    net.Conn
	framer  *http2.Framer
	encoder *hpack.Encoder
	block   bytes.Buffer
	stream  uint32
}

func (c *h2Client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

func (c *h2Client) send(t try) string {
	fresh := c.conn == nil
	status, err := c.exchange(t)
	if err != nil && !fresh {
		c.close()
		status, err = c.exchange(t)
	}
	if err != nil {
		c.close()
		return "closed"
	}
	return status
}

func (c *h2Client) connect() error {
	conn, err := net.Dial("tcp", c.addr)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		conn.Close()
		return err
	}
	c.conn, c.stream = conn, 1
	c.framer = http2.NewFramer(conn, conn)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.block.Reset()
	c.encoder = hpack.NewEncoder(&c.block)
	return c.framer.WriteSettings()
}

func (c *h2Client) encode(fields []header) []byte {
	c.block.Reset()
	for _, h := range fields {
		c.encoder.WriteField(hpack.HeaderField{Name: strings.ToLower(h.name), Value: h.value})
	}
	return c.block.Bytes()
}

func (c *h2Client) exchange(t try) (string, error) {
	if c.conn == nil {
		if err := c.connect(); err != nil {
			return "", err
		}
	}
	c.conn.SetDeadline(time.Now().Add(patience))
	id := c.stream
	c.stream += 2
	fields := append([]header{{":method", t.method}, {":scheme", "http"}, {":authority", t.door.host}, {":path", t.target}}, t.headers...)
	if err := c.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, BlockFragment: c.encode(fields), EndHeaders: true, EndStream: t.body == "" && t.trailer == nil,
	}); err != nil {
		return "", err
	}
	if t.body != "" || t.trailer != nil {
		c.framer.WriteData(id, t.trailer == nil, []byte(t.body))
	}
	if t.trailer != nil {
		c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.encode(t.trailer), EndHeaders: true, EndStream: true})
	}
	return c.await(id)
}

// await reads the reply of a stream. An error that ends the connection is a
// reset, too.
func (c *h2Client) await(id uint32) (status string, _ error) {
	for {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			return "", err
		}
		mine := frame.Header().StreamID == id
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				c.framer.WriteSettingsAck()
			}
		case *http2.PingFrame:
			c.framer.WritePing(true, frame.Data)
		case *http2.MetaHeadersFrame:
			if mine && status == "" {
				status = frame.PseudoValue("status")
			}
			if mine && frame.StreamEnded() {
				return status, nil
			}
		case *http2.DataFrame:
			if n := frame.Length; n > 0 {
				c.framer.WriteWindowUpdate(0, n)
			}
			if mine && frame.StreamEnded() {
				return status, nil
			}
		case *http2.RSTStreamFrame:
			if mine && status != "" {
				return status, nil // a reply before the request had ended
			}
			if mine {
				return "reset", nil
			}
		case *http2.GoAwayFrame:
			if status == "" && frame.ErrCode != http2.ErrCodeNo {
				c.close()
				return "reset", nil
			}
		}
	}
}
