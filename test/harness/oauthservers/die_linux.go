package oauthservers

import (
	"os"
	"syscall"
)

// diesWithParent lets a server end with the test, also when the test is killed.
// It is the first of a process group: Keycloak's is a shell that waits for Java.
func diesWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
}

// end ends a server with all that it has started.
func end(p *os.Process) { syscall.Kill(-p.Pid, syscall.SIGKILL) }
