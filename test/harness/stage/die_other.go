//go:build !linux

package stage

import "syscall"

func diesWithParent() *syscall.SysProcAttr { return nil }
