// Command print prints the table of the figures in a file, and exits 1 if one of
// them is missing or not as it is to be.
package main

import (
	"fmt"
	"os"

	"github.com/athd/athd/test/harness/figures"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: print FILE")
		os.Exit(2)
	}
	file, err := os.Open(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	hold, err := figures.Print(os.Stdout, file)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if !hold || err != nil {
		os.Exit(1)
	}
}
