package stage

import "syscall"

// diesWithParent lets athd end with the test, also when the test is killed.
func diesWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
