// Package figures collects what tests measure, each figure with its goal, in the
// tables that make chaos-refresh, make bench-runtime and make bench-streams print.
// Start at [Figure.Seen].
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

// Figures of providers that are added, changed and removed while athd runs. Times
// are from the moment at which the operator's request is sent.
var (
	Asked     = Figure{"added, changed, removed → in effect through Envoy, on the athd that was asked", "p99 at most 10 ms"}
	Other     = Figure{"the same on the other athd, through its Envoy", "p99 at most 250 ms"}
	AskedMany = Figure{"on the athd that was asked, with 10,000 providers", "p99 at most 10 ms"}
	OtherMany = Figure{"on the other athd, with 10,000 providers", "p99 at most 250 ms"}
	Errors    = Figure{"200 calls a second of another provider, meanwhile", "0 errors"}
	Steady    = Figure{"their p99 with changes / without, medians of 21 windows", "at most 1.2"}
	Dialled   = Figure{"Envoy's memory with 1,000 dialled hosts", "printed"}
)

// Figures of exchanges that are watched. Times are from the moment at which the
// request to end them is sent, until the client saw the end.
var (
	RevokedHere  = Figure{"token revoked → its stream ended, at the athd that watches", "p99 at most 20 ms"}
	RevokedThere = Figure{"token revoked → its stream ended, at the other athd", "p99 at most 100 ms"}
	Expired      = Figure{"token's end → its stream ended", "p99 at most 50 ms"}
	BusyHere     = Figure{"revoked, at the athd that watches, with all processors full", "printed"}
	BusyThere    = Figure{"revoked, at the other athd, with all processors full", "printed"}
	Idle         = Figure{"idle streams at once", "10,000 open, revoking one ends one"}
	WatchMemory  = Figure{"athd's memory for each of them", "at most 24 KiB"}
	EnvoyMemory  = Figure{"Envoy's memory for each of them", "printed"}
	BesideOpen   = Figure{"p99 of short calls beside them / without, medians of interleaved windows", "at most 1.2"}
	AboveCap     = Figure{"one more than limits.streams.total", "429 with Retry-After"}
)

// tables are the tables by their names, each in its order.
var tables = map[string][]Figure{
	"refresh": {Ahead, AheadSlow, Ended, EndedSlow, Killed, Stopped, Paused, Failover, Rounds, Exception, Beside},
	"runtime": {Asked, Other, AskedMany, OtherMany, Errors, Steady, Dialled},
	"streams": {RevokedHere, RevokedThere, Expired, BusyHere, BusyThere, Idle, WatchMemory, EnvoyMemory, BesideOpen, AboveCap},
}

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

// Print writes the table of this name, of what a file has. It reports whether every
// figure was measured and is as it is to be.
func Print(w io.Writer, table string, file io.Reader) (hold bool, err error) {
	all, ok := tables[table]
	if !ok {
		return false, fmt.Errorf("there is no table %q", table)
	}
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
