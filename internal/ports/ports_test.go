package ports_test

import (
	"net"
	"testing"

	"github.com/athd/athd/internal/ports"
)

func TestReservedAddressCanBeListenedOnRepeatedly(t *testing.T) {
	address, release, err := ports.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	for range 3 {
		if !ports.Free(address) {
			t.Fatal("a reserved port is not free for who knows it")
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if ports.Free(address) {
			t.Error("free, while somebody listens there")
		}
		client, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		server.Close() // first: this side waits for stray packets, and does not stand in the way
		client.Close()
		l.Close()
	}
}
