package process

import "syscall"

// attributes have the kernel end a child when the thread that started it
// ends, so that nothing is left running even after a SIGKILL.
func attributes(ownGroup bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: ownGroup, Pdeathsig: syscall.SIGKILL}
}
