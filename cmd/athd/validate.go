package main

import (
	"fmt"
	"io"

	"github.com/athd/athd/config"
)

// runValidate checks a configuration as serve does, without starting.
func runValidate(args []string, t terminal) error {
	f := newFlags("validate", t)
	path := f.config()
	if err := f.parse(args); err != nil {
		return err
	}
	s, err := t.load(*path)
	if err != nil {
		return err
	}
	fmt.Fprintf(t.stdout, "%s: ok: %s\n", *path, summary(s.Providers))
	printWarnings(t.stdout, s)
	return nil
}

func printWarnings(w io.Writer, s *config.Settings) {
	for _, text := range s.Warnings {
		fmt.Fprintln(w, "warning:", text)
	}
}
