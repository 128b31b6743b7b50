//go:build !windows

package agentcli

import "io/fs"

// readableByOthers reports whether somebody else on this machine can read a
// file of that mode.
func readableByOthers(mode fs.FileMode) bool { return mode.Perm()&0o077 != 0 }
