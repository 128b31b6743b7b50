package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"testing"
)

// startUpstream answers every request with its head, and nothing but 200. It
// speaks just enough HTTP to cost little of the machine.
func startUpstream(t testing.TB) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go echo(conn)
		}
	}()
	return l.Addr().String()
}

func echo(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 16<<10)
	var head, out []byte
	for {
		head = head[:0]
		for {
			line, err := in.ReadSlice('\n')
			if err != nil {
				return
			}
			head = append(head, line...)
			if len(bytes.TrimSpace(line)) == 0 {
				break
			}
		}
		out = fmt.Appendf(out[:0], "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n", len(head))
		if _, err := conn.Write(append(out, head...)); err != nil {
			return
		}
	}
}
