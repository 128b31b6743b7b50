//go:build !linux

package realredis

import "syscall"

func dieWithParent() *syscall.SysProcAttr { return nil }
