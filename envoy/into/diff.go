package into

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// around is how many lines that stay are shown beside those that do not.
const around = 3

// Diff returns how two texts differ that differ in athd's parts only, as diff -u
// does; nothing where they are the same. No other line is shown as changed.
func Diff(name string, before, after []byte) ([]byte, error) {
	if bytes.Equal(before, after) {
		return nil, nil
	}
	old, err := groups(before)
	if err != nil {
		return nil, err
	}
	now, err := groups(after)
	if err != nil {
		return nil, err
	}
	var all []string // each line behind ' ', '-' or '+'
	for i := range max(len(old), len(now)) {
		var a, b []string
		if i < len(old) {
			a = old[i]
		}
		if i < len(now) {
			b = now[i]
		}
		all = append(all, compare(a, b)...)
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "--- %s\n+++ %s\n", name, name)
	hunks(&out, all)
	return out.Bytes(), nil
}

// groups are the lines of a text, each of those that are not athd's with what
// stands above it.
func groups(text []byte) ([][]string, error) {
	_, origin, err := read(text)
	if err != nil {
		return nil, err
	}
	lines := strings.SplitAfter(string(text), "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	var out [][]string
	from := 0
	for _, at := range append(origin, len(lines)-1) {
		out = append(out, lines[from:at+1])
		from = at + 1
	}
	return out, nil
}

// compare returns two lists of lines as one: as few as can be go and come.
func compare(a, b []string) []string {
	var begin, end []string
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		end = append(end, " "+a[len(a)-1])
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	slices.Reverse(end)
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		begin = append(begin, " "+a[0])
		a, b = a[1:], b[1:]
	}
	const most = 16 << 20
	if len(a)*len(b) > most {
		return slices.Concat(begin, signed("-", a), signed("+", b), end)
	}
	// common[i][j] is how many lines a[i:] and b[j:] have in common.
	common := make([][]int32, len(a)+1)
	for i := range common {
		common[i] = make([]int32, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		switch {
		case a[i] == b[j]:
			begin = append(begin, " "+a[i])
			i, j = i+1, j+1
		case common[i+1][j] >= common[i][j+1]:
			begin = append(begin, "-"+a[i])
			i++
		default:
			begin = append(begin, "+"+b[j])
			j++
		}
	}
	return slices.Concat(begin, signed("-", a[i:]), signed("+", b[j:]), end)
}

func signed(sign string, lines []string) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = sign + line
	}
	return out
}

// hunks writes what differs, with a few lines around it.
func hunks(out *bytes.Buffer, all []string) {
	old, now := 1, 1 // lines
	for i := 0; i < len(all); {
		first := i + slices.IndexFunc(all[i:], func(line string) bool { return line[0] != ' ' })
		if first < i {
			return
		}
		from, to, same := max(i, first-around), first, 0
		for to < len(all) && same <= 2*around {
			if same++; all[to][0] != ' ' {
				same = 0
			}
			to++
		}
		to -= max(0, same-around)
		old, now = old+from-i, now+from-i
		var gone, come int
		for _, line := range all[from:to] {
			if line[0] != '+' {
				gone++
			}
			if line[0] != '-' {
				come++
			}
		}
		fmt.Fprintf(out, "@@ -%d,%d +%d,%d @@\n", old, gone, now, come)
		for _, line := range all[from:to] {
			out.WriteString(line)
			if !strings.HasSuffix(line, "\n") {
				out.WriteString("\n\\ No newline at end of file\n")
			}
		}
		old, now, i = old+gone, now+come, to
	}
}
