package main

import "syscall"

// dieWithParent has the kernel end a child when the thread that started it
// ends, so that nothing is left running even after a SIGKILL. The child has
// a process group of its own: Ctrl-C is for this program, which then stops
// its children in order.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
