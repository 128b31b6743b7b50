package up

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A processEntry is a line of the system's list of processes.
type processEntry struct{ id, parent, group int }

// processes are those that run: not those that nobody has waited for yet.
func processes(t *testing.T) (all []processEntry) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	if len(stats) == 0 { // no Linux
		out, err := exec.CommandContext(t.Context(), "ps", "-A", "-o", "pid=,stat=,ppid=,pgid=").Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(out)) {
			all = add(all, line)
		}
		return all
	}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// pid (name) state ppid pgrp …, with any name
		id, rest, _ := strings.Cut(string(text), " ")
		all = add(all, id+rest[strings.LastIndex(rest, ")")+1:])
	}
	return all
}

func add(all []processEntry, line string) []processEntry {
	var p processEntry
	var state string
	if n, _ := fmt.Sscan(line, &p.id, &state, &p.parent, &p.group); n != 4 || strings.HasPrefix(state, "Z") {
		return all
	}
	return append(all, p)
}

func runs(t *testing.T, pid int) bool {
	t.Helper()
	return slices.ContainsFunc(processes(t), func(p processEntry) bool { return p.id == pid })
}
