//go:build !linux

package oauthservers

import (
	"os"
	"syscall"
)

func diesWithParent() *syscall.SysProcAttr { return nil }

func end(p *os.Process) { p.Kill() }
