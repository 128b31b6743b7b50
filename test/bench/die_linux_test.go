package bench

import "syscall"

// diesWithParent lets what was started end with the benchmark, also when that is killed.
func diesWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
