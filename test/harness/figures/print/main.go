// Command print prints a table of the figures in a file, and exits 1 if one of
// them is missing or not as it is to be.
package main

import (
	"fmt"
	"os"

	"github.com/athd/athd/test/harness/figures"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: print TABLE FILE")
		os.Exit(2)
	}
	file, err := os.Open(os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	hold, err := figures.Print(os.Stdout, os.Args[1], file)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if !hold || err != nil {
		os.Exit(1)
	}
}
