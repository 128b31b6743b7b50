package main

import (
	"fmt"

	"github.com/athd/athd/envoy/verify"
	"github.com/athd/athd/internal/cli"
)

// verified tells what was read and what was found, faults first.
func (c *command) verified(v verify.Verification) error {
	if *c.format == cli.JSON {
		return c.JSON(v)
	}
	read := fmt.Sprintf("%s, %s, %s read", number(v.Listeners, "listener"), number(v.Routes, "route"), number(v.Clusters, "cluster"))
	if len(v.Findings) == 0 {
		_, err := fmt.Fprintf(c.Stdout, "%s; nothing differs.\n", read)
		return err
	}
	for _, f := range v.Findings {
		fmt.Fprintf(c.Stdout, "%s: %s\n  %s\n  remedy: %s\n\n", f.Severity, cli.Printable(f.Where, 1000), cli.Printable(f.What, 1000), cli.Printable(f.Remedy, 1000))
	}
	faults, warnings := count(v)
	_, err := fmt.Fprintf(c.Stdout, "%s; %s, %s.\n", read, number(faults, "fault"), number(warnings, "warning"))
	return err
}

func count(v verify.Verification) (faults, warnings int) {
	for _, f := range v.Findings {
		if f.Severity == verify.Fault {
			faults++
		} else {
			warnings++
		}
	}
	return faults, warnings
}

func number(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}
