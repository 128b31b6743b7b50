//go:build !linux

package process

import "syscall"

// EndsWithParent reports whether children end even where this program is
// killed: only Linux can do that.
const EndsWithParent = false

// attributes are those of a child.
func attributes(ownGroup bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: ownGroup}
}
