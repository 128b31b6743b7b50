package doctor

import (
	"fmt"
	"io"
	"strings"
)

// Print shows the findings of one subject to people.
func Print(w io.Writer, title string, all []Finding) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", title)
	for _, f := range all {
		fmt.Fprintf(&b, "  %-9s  %s: %s", f.Status, f.ID, f.Asked)
		if f.Found != "" {
			fmt.Fprintf(&b, ": %s", f.Found)
		}
		b.WriteString("\n")
		for _, line := range []struct{ label, text string }{{causeLabel(f.Status), f.Cause}, {"cure", f.Cure}} {
			if line.text != "" {
				fmt.Fprintf(&b, "             %s: %s\n", line.label, line.text)
			}
		}
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func causeLabel(s Status) string {
	if s == NotAsked {
		return "why"
	}
	return "cause"
}

// A Count is how many findings there are of each status.
type Count struct {
	OK       int `json:"ok"`
	Warnings int `json:"warnings"`
	Faults   int `json:"faults"`
	NotAsked int `json:"not_asked"`
}

// Add counts findings.
func (c *Count) Add(all []Finding) {
	for _, f := range all {
		switch f.Status {
		case OK:
			c.OK++
		case Warning:
			c.Warnings++
		case NotAsked:
			c.NotAsked++
		default:
			c.Faults++
		}
	}
}

// String is for people.
func (c Count) String() string {
	return fmt.Sprintf("%d ok, %s, %s, %d not asked.", c.OK, counted(c.Warnings, "warning"), counted(c.Faults, "fault"), c.NotAsked)
}
