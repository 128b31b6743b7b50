// Package figures collects what tests measure of the refresh of users' tokens,
// each figure with its goal, in the table that make chaos-refresh prints. Start at
// [Figure.Seen].
package figures

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// File is the environment variable that names the file in which figures are
// collected; without it they are only logged.
const File = "ATHD_FIGURES"

// A Figure is something that is measured, and what it is to be.
type Figure struct{ what, goal string }

// The figures. A goal of "0 failed" is of requests that got anything but an allow.
var (
	Ahead     = Figure{"8 replicas × 200 requests, ahead of the token's end", "1 call, 0 failed"}
	AheadSlow = Figure{"8 × 200, ahead of its end, endpoint three times as slow as the lease", "1 call, 0 failed"}
	Ended     = Figure{"8 × 200, at its end", "1 call, 0 failed"}
	EndedSlow = Figure{"8 × 200, at its end, endpoint three times as slow as the lease", "1 call; 503 with Retry-After within 1 s"}
	Killed    = Figure{"SIGKILL of the athd that holds the lease, in its call", "at most 2 calls, never at once; 0 failed elsewhere while the token lives; grant kept"}
	Stopped   = Figure{"SIGSTOP of it, SIGCONT later", "at most 2 calls, never at once; 0 failed elsewhere while the token lives; grant kept"}
	Paused    = Figure{"Redis paused for 3 s in the call", "at most 2 calls; 503 with Retry-After, only meanwhile; grant kept"}
	Failover  = Figure{"failover of Redis in the call", "at most 2 calls; 503 with Retry-After, only meanwhile; grant kept"}
	Rounds    = Figure{"random rounds: kill, pause, partition", "0 grants lost, 0 requests failed, never two calls at once"}
	Exception = Figure{"and the answer reached no athd that went on", "only there, at most one for each call under way"}
	Beside    = Figure{"p99 of others' decisions beside refresh work / without", "at most 2"}
)

// all is the table, in order.
var all = []Figure{Ahead, AheadSlow, Ended, EndedSlow, Killed, Stopped, Paused, Failover, Rounds, Exception, Beside}

// A row is one line of the file.
type row struct {
	What  string `json:"what"`
	Seen  string `json:"seen"`
	Holds bool   `json:"holds"`
}

// Seen says what was seen of a figure, and fails the test if that is not the goal.
func (f Figure) Seen(t testing.TB, holds bool, format string, args ...any) {
	t.Helper()
	r := row{f.what, fmt.Sprintf(format, args...), holds}
	t.Logf("%s: %s", r.What, r.Seen)
	if !holds {
		t.Errorf("%s: %s; the goal is: %s", r.What, r.Seen, f.goal)
	}
	path := os.Getenv(File)
	if path == "" {
		return
	}
	line, err := json.Marshal(r)
	if err == nil {
		var file *os.File
		if file, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err == nil {
			defer file.Close()
			_, err = file.Write(append(line, '\n'))
		}
	}
	if err != nil {
		t.Errorf("%s: %v", File, err)
	}
}

// Print writes the table of what a file has. It reports whether every figure was
// measured and is as it is to be.
func Print(w io.Writer, file io.Reader) (hold bool, err error) {
	seen := map[string][]row{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var r row
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return false, fmt.Errorf("a line of the figures: %w", err)
		}
		seen[r.What] = append(seen[r.What], r)
	}
	if err := lines.Err(); err != nil {
		return false, err
	}
	var b strings.Builder
	b.WriteString("| figure | goal | seen | |\n|---|---|---|---|\n")
	hold = true
	for _, f := range all {
		if len(seen[f.what]) == 0 {
			hold = false
			fmt.Fprintf(&b, "| %s | %s | not measured | **missed** |\n", f.what, f.goal)
		}
		for _, r := range seen[f.what] {
			verdict := "holds"
			if !r.Holds {
				hold, verdict = false, "**missed**"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", f.what, f.goal, r.Seen, verdict)
		}
	}
	_, err = io.WriteString(w, b.String())
	return hold, err
}
