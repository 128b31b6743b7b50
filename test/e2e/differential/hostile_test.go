package differential

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
)

// A hostile is a request that somebody might try, and what must become of it.
type hostile struct {
	class, name string
	door        string // "": plain
	method      string // "": GET
	target      string // below the door's prefix; "\x01" before an absolute one
	headers     string // a set of headers by its name; "": good
	body        string
	trailer     []header // HTTP/2 only

	// want is the target that the API must see, or the status of the refusal;
	// several with "|". wantOn says otherwise for a front ("istio"), a protocol
	// ("HTTP/2") or both ("istio HTTP/2").
	want   string
	wantOn map[string]string
}

// TestHostileRequests sends each request through every front over both
// protocols, shows what athd judged, what the client was told and what the API
// saw, and holds it against the table.
// proves: P-1, P-2, P-5, P-7
func TestHostileRequests(t *testing.T) {
	w := newWorld(t)
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	differing, sent := 0, 0
	fmt.Fprintln(table, "case\tthrough\tjudged\tstatus\tthe API saw")
	for _, c := range hostiles() {
		type row struct{ judged, status, saw string }
		var rows []row
		where := map[row][]string{}
		for _, f := range w.fronts {
			for protocol, name := range []string{"HTTP/1.1", "HTTP/2"} {
				if c.trailer != nil && name == "HTTP/1.1" {
					continue
				}
				o := w.send(f, protocol, c.try(w))
				sent++
				r := row{judgedAs(o), o.status, saw(o)}
				if !slices.Contains(rows, r) {
					rows = append(rows, r)
				}
				where[r] = append(where[r], f.name+" "+name)
				for _, fault := range w.differences(f, o) {
					differing++
					t.Errorf("%s: %s, %s over %s: %s", c.class, c.name, f.name, name, fault)
				}
				if want := c.wanted(f.name, name); !fits(want, o) {
					t.Errorf("%s: %s, %s over %s: status %s, the API saw %q; want %s", c.class, c.name, f.name, name, o.status, saw(o), want)
				}
			}
		}
		for i, r := range rows {
			name := ""
			if i == 0 {
				name = c.class + ": " + c.name
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", name, together(where[r]), r.judged, r.status, r.saw)
		}
	}
	table.Flush()
	fmt.Printf("%d cases, %d requests, %d that arrived otherwise than they were judged\n", len(hostiles()), sent, differing)
}

func (c hostile) try(w *world) try {
	d := pick(doors, func(d door) string { return d.provider }, c.door)
	set := pick(headerSets, func(s headerSet) string { return s.name }, c.headers)
	token := w.tokens[d.provider].Secret().Reveal()
	t := try{
		door: d, method: c.method, headers: set.make(token, w.tokens["root"].Secret().Reveal()),
		target: d.prefix + c.target, body: strings.ReplaceAll(c.body, "TOKEN", token),
	}
	for _, h := range c.trailer {
		t.trailer = append(t.trailer, header{h.name, strings.ReplaceAll(h.value, "TOKEN", token)})
	}
	if rest, absolute := strings.CutPrefix(c.target, "\x01"); absolute {
		t.target = rest
	}
	t.target = strings.ReplaceAll(t.target, "TOKEN", token)
	switch c.method {
	case "":
		t.method = "GET"
	case "(none)":
		t.method = ""
	}
	return t
}

// pick returns the one of this name; the first for no name.
func pick[T any](list []T, name func(T) string, want string) T {
	i := slices.IndexFunc(list, func(one T) bool { return want == "" || name(one) == want })
	if i < 0 {
		panic("the table names " + want + ", which there is not")
	}
	return list[i]
}

func (c hostile) wanted(front, protocol string) string {
	for _, key := range []string{front + " " + protocol, front, "kept " + protocol, "kept", protocol} {
		if strings.HasPrefix(key, "kept") && (front == "strict" || front == "istio") {
			continue // all others are as kept is
		}
		if want, ok := c.wantOn[key]; ok {
			return want
		}
	}
	return c.want
}

// fits: without a reply a request is refused as well as with 400.
func fits(want string, o outcome) bool {
	for one := range strings.SplitSeq(want, "|") {
		arrived := saw(o)
		switch {
		case one != "" && one[0] == '/' || strings.HasPrefix(one, "companion "):
			if arrived == one && o.status == "200" {
				return true
			}
		case arrived != "-":
		case o.status == one, one == "400" && (o.status == "reset" || o.status == "closed"):
			return true
		}
	}
	return false
}

func judgedAs(o outcome) string {
	var out []string
	for _, j := range o.judged {
		out = append(out, fmt.Sprintf("%s %s: %s", j.request.Method, shown(j.request.Path), j.decision.Reason()))
	}
	if out == nil {
		return "(not asked)"
	}
	return strings.Join(out, "; ")
}

func saw(o outcome) string {
	var out []string
	for _, a := range o.arrived {
		out = append(out, shown(a.target))
		if len(a.trailers) > 0 {
			out = append(out, "trailers "+strings.Join(a.trailers, ", "))
		}
	}
	for _, a := range o.companion {
		out = append(out, "companion "+shown(a.target))
	}
	if out == nil {
		return "-"
	}
	return strings.Join(out, "; ")
}

// shown keeps a line of the table readable and its secrets out.
func shown(s string) string {
	s = strings.Trim(fmt.Sprintf("%q", s), `"`)
	if i := strings.Index(s, "ath_tk_"); i >= 0 {
		s = s[:i] + "ath_tk_…"
	}
	return s[:min(len(s), 60)]
}

// together joins where the same happened.
func together(all []string) string {
	if len(all) == 2*len(fronts) {
		return "all"
	}
	return strings.ReplaceAll(strings.ReplaceAll(strings.Join(all, ", "), "HTTP/1.1", "1"), "HTTP/2", "2")
}
