package agentcli

import "io/fs"

// readableByOthers: the mode says nothing of that here.
func readableByOthers(fs.FileMode) bool { return false }
