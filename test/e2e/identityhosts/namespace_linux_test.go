package identityhosts

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
)

const insideVariable = "ATHD_TEST_INSIDE_NAMESPACE"

// runInNamespace runs this test binary again in a network namespace of its
// own, and returns its exit code. It reports false where the tests are to run
// here: inside already, or no namespace can be had.
func runInNamespace() (code int, ran bool) {
	if os.Getenv(insideVariable) != "" {
		if err := ownEveryAddress(); err != nil {
			fmt.Fprintln(os.Stderr, "network namespace:", err)
		}
		return 0, false
	}
	inside := exec.Command("/proc/self/exe", os.Args[1:]...)
	inside.Env = append(os.Environ(), insideVariable+"=1")
	inside.Stdin, inside.Stdout, inside.Stderr = os.Stdin, os.Stdout, os.Stderr
	inside.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if uid := os.Geteuid(); uid != 0 {
		inside.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		inside.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		inside.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	if err := inside.Start(); err != nil {
		return 0, false
	}
	if err := inside.Wait(); err != nil {
		if e, ok := errors.AsType[*exec.ExitError](err); ok && e.Exited() {
			return e.ExitCode(), true
		}
		fmt.Fprintln(os.Stderr, "network namespace:", err)
		return 1, true
	}
	return 0, true
}

const loopbackIndex = 1 // the first interface of a namespace

// ownEveryAddress brings the loopback interface up and routes every address
// to it as a local one (rtnetlink(7)). It does so in a fresh namespace only,
// in which no interface is up: never to the machine's own network.
func ownEveryAddress() error {
	interfaces, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, i := range interfaces {
		if i.Flags&net.FlagUp != 0 {
			return fmt.Errorf("%s is up: this is not a fresh namespace", i.Name)
		}
	}
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, syscall.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	native := binary.NativeEndian

	up := []byte{syscall.AF_UNSPEC, 0, 0, 0} // struct ifinfomsg
	up = native.AppendUint32(up, loopbackIndex)
	up = native.AppendUint32(up, syscall.IFF_UP) // flags
	up = native.AppendUint32(up, syscall.IFF_UP) // which of them change
	if err := ask(fd, syscall.RTM_NEWLINK, 0, up); err != nil {
		return fmt.Errorf("bringing lo up: %w", err)
	}
	for _, family := range []byte{syscall.AF_INET, syscall.AF_INET6} {
		route := []byte{ // struct rtmsg: a prefix of no bits
			family, 0, 0, 0,
			syscall.RT_TABLE_LOCAL, syscall.RTPROT_BOOT, syscall.RT_SCOPE_HOST, syscall.RTN_LOCAL,
			0, 0, 0, 0,
		}
		route = native.AppendUint16(route, 8)
		route = native.AppendUint16(route, syscall.RTA_OIF)
		route = native.AppendUint32(route, loopbackIndex)
		if err := ask(fd, syscall.RTM_NEWROUTE, syscall.NLM_F_CREATE, route); err != nil {
			return fmt.Errorf("routing every address to lo: %w", err)
		}
	}
	return nil
}

// ask sends one request to the kernel and waits for its acknowledgement.
func ask(fd int, kind, flags uint16, body []byte) error {
	native := binary.NativeEndian
	message := native.AppendUint32(nil, uint32(syscall.NLMSG_HDRLEN+len(body)))
	message = native.AppendUint16(message, kind)
	message = native.AppendUint16(message, syscall.NLM_F_REQUEST|syscall.NLM_F_ACK|flags)
	message = native.AppendUint64(message, 0) // sequence number and port: of no use here
	if err := syscall.Sendto(fd, append(message, body...), 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := syscall.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	replies, err := syscall.ParseNetlinkMessage(answer[:n])
	if err != nil {
		return err
	}
	for _, r := range replies {
		if r.Header.Type == syscall.NLMSG_ERROR && len(r.Data) >= 4 {
			if number := int32(native.Uint32(r.Data)); number != 0 {
				return syscall.Errno(-number)
			}
			return nil
		}
	}
	return errors.New("the kernel did not acknowledge")
}
