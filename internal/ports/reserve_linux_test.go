package ports

import (
	"net"
	"strconv"
	"syscall"
	"testing"
)

// ipLocalPortRange is IP_LOCAL_PORT_RANGE (Linux 6.3): the ports that the
// kernel may choose for one socket, the lower bound in the lower 16 bits.
const ipLocalPortRange = 51

func TestNobodyWhoTakesAnyPortGetsAReservedOne(t *testing.T) {
	address, release, err := Reserve()
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	_, text, _ := net.SplitHostPort(address)
	port, _ := strconv.Atoi(text)
	// onlyThat is a socket for which the reserved port is all there is.
	onlyThat := func(t *testing.T, options ...int) int {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { syscall.Close(fd) })
		if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, ipLocalPortRange, port|port<<16); err != nil {
			// An older kernel: choose among all ports, and hope to see it.
			t.Logf("IP_LOCAL_PORT_RANGE: %v", err)
		}
		for _, option := range options {
			if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, option, 1); err != nil {
				t.Fatal(err)
			}
		}
		return fd
	}
	got := func(fd int) int {
		at, _ := syscall.Getsockname(fd)
		in4, _ := at.(*syscall.SockaddrInet4)
		return in4.Port
	}
	loopback := [4]byte{127, 0, 0, 1}
	for name, options := range map[string][]int{
		"a listener": {syscall.SO_REUSEADDR}, "a sharing listener": {soReusePort}, "both": {syscall.SO_REUSEADDR, soReusePort}, "neither": nil,
	} {
		t.Run(name, func(t *testing.T) {
			fd := onlyThat(t, options...)
			if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: loopback}); err == nil && got(fd) == port {
				t.Error("was given the reserved port")
			}
		})
	}
	t.Run("an outgoing connection", func(t *testing.T) {
		fd := onlyThat(t)
		at := elsewhere.Addr().(*net.TCPAddr).Port
		if err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: at, Addr: loopback}); err == nil && got(fd) == port {
			t.Error("was given the reserved port")
		}
	})
	t.Run("released", func(t *testing.T) {
		release()
		fd := onlyThat(t, syscall.SO_REUSEADDR)
		if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: loopback}); err != nil {
			t.Errorf("a released port is not given to others: %v", err)
		}
	})
}
