package oauthservers

import "syscall"

// diesWithParent lets a server end with the test, also when the test is killed.
func diesWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
