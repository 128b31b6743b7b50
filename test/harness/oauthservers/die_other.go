//go:build !linux

package oauthservers

import "syscall"

func diesWithParent() *syscall.SysProcAttr { return nil }
