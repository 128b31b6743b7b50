// Package ports finds loopback ports for servers that are started later, or
// that must come back where they were.
package ports

import "net"

// Reserve returns a loopback address with a port that the kernel chose, and
// holds it until release is called. While it is held, the kernel gives the
// port to nobody who asks for any port, nor to an outgoing connection; a
// server that is told the port gets it, as often as it likes, if it listens
// as servers do (SO_REUSEADDR, or SO_REUSEPORT by the same user). Where the
// system cannot do that the port was free a moment ago, and release does
// nothing.
func Reserve() (address string, release func(), err error) {
	return reserve()
}

// Free reports whether a server could listen on address now.
func Free(address string) bool {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return false
	}
	return l.Close() == nil
}
