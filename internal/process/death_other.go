//go:build !linux

package process

import "syscall"

// attributes are those of a child, which goes on where this program is killed:
// only Linux can end it then.
func attributes(ownGroup bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: ownGroup}
}
