package main

import (
	"fmt"

	"github.com/athd/athd/internal/version"
)

// runVersion prints what this binary is.
func runVersion(args []string, t terminal) error {
	f := newFlags("version", t)
	if err := f.parse(args); err != nil {
		return err
	}
	fmt.Fprint(t.stdout, version.Text("athd"))
	return nil
}
