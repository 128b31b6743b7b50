package realenvoy

import "syscall"

// diesWithParent lets Envoy end with the test, also when the test is killed.
func diesWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
