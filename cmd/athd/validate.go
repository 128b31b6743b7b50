package main

import (
	"fmt"
	"io"
)

// runValidate checks a configuration as serve does, without starting.
func runValidate(args []string, t terminal) error {
	f := newFlags("validate", t)
	config := f.config()
	if err := f.parse(args); err != nil {
		return err
	}
	s, faults := load(*config, outside{t.env, readFile})
	if err := faults.Err(); err != nil {
		return err
	}
	fmt.Fprintf(t.stdout, "%s: ok: %s\n", *config, summary(s.providers))
	printWarnings(t.stdout, s)
	return nil
}

func printWarnings(w io.Writer, s *settings) {
	for _, text := range s.warnings {
		fmt.Fprintln(w, "warning:", text)
	}
}
