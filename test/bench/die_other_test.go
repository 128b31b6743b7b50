//go:build !linux

package bench

import "syscall"

func diesWithParent() *syscall.SysProcAttr { return nil }
