//go:build !linux

package realenvoy

import "syscall"

func diesWithParent() *syscall.SysProcAttr { return nil }
