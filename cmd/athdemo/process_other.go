//go:build !linux

package main

import "syscall"

// dieWithParent gives a child a process group of its own: Ctrl-C is for this
// program, which then stops its children in order. What a SIGKILL of this
// program leaves running, only Linux can end.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
