package stage

import (
	"fmt"
	"syscall"
	"testing"
)

const soReusePort = 15 // SO_REUSEPORT, which package syscall does not have everywhere

// EnvoyAddr returns a loopback address for an Envoy. Envoy shares its port with
// whoever asks (SO_REUSEPORT): two that are given the same one would both run
// and take each other's connections. So the port is held until the test ends,
// by a socket that lets Envoy in, and nobody who just looks for a free port.
func EnvoyAddr(t testing.TB) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, soReusePort, 1); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	at, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", at.(*syscall.SockaddrInet4).Port)
}
