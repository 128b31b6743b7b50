package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// ask sends one request on the connection and returns the status, or an error
// when there is none within the time.
func ask(conn net.Conn, within time.Duration, headers string) (int, error) {
	conn.SetDeadline(time.Now().Add(within))
	if _, err := fmt.Fprintf(conn, "GET /health HTTP/1.1\r\nHost: gateway.example.com\r\n%s\r\n", headers); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	return resp.StatusCode, nil
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestCompanionHasSoManyConnections(t *testing.T) {
	r := start(t, map[string]string{"limits": "{connections: 2}"})
	first, second, third := dial(t, r.HTTP), dial(t, r.HTTP), dial(t, r.HTTP)
	for _, conn := range []net.Conn{first, second} {
		if status, err := ask(conn, time.Minute, ""); status != http.StatusOK {
			t.Fatalf("%d %v", status, err)
		}
	}
	if status, err := ask(third, 200*time.Millisecond, ""); err == nil {
		t.Errorf("a third connection was served: %d", status)
	}
	first.Close()
	third.Close() // it waits in line before the next one
	if status, err := ask(dial(t, r.HTTP), time.Minute, ""); status != http.StatusOK {
		t.Errorf("after one has ended: %d %v", status, err)
	}
}

func TestCompanionRefusesLargeHeaders(t *testing.T) {
	r := start(t, nil)
	if status, err := ask(dial(t, r.HTTP), time.Minute, "X: "+strings.Repeat("x", 60<<10)+"\r\n"); status != http.StatusOK {
		t.Errorf("60 KiB: %d %v", status, err)
	}
	if status, err := ask(dial(t, r.HTTP), time.Minute, "X: "+strings.Repeat("x", 96<<10)+"\r\n"); status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("96 KiB: %d %v", status, err)
	}
}
