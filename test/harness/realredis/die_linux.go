package realredis

import "syscall"

// dieWithParent has the kernel kill the server when the test process dies
// without its cleanup.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
