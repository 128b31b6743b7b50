//go:build unix

package main

import (
	"io/fs"
	"os"
	"syscall"
)

// keepOwner gives a new file the owner and group of an old one.
func keepOwner(f *os.File, old fs.FileInfo) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	want, is := old.Sys().(*syscall.Stat_t)
	have, is2 := info.Sys().(*syscall.Stat_t)
	if !is || !is2 || have.Uid == want.Uid && have.Gid == want.Gid {
		return nil
	}
	return f.Chown(int(want.Uid), int(want.Gid))
}

// ownedBy reports whether a file is a user's.
func ownedBy(info fs.FileInfo, uid int) bool {
	stat, is := info.Sys().(*syscall.Stat_t)
	return is && int(stat.Uid) == uid
}
