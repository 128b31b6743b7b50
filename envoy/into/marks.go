package into

import (
	"strings"
	"unicode/utf8"
)

// What Insert adds stands between the first two marks. A line that it changes
// stands behind the third as it was.
const (
	markBegin = "# athd:begin"
	markEnd   = "# athd:end"
	markWas   = "# athd:was "
)

// titles tell whoever reads the file whose lines these are.
const (
	titleAdded   = markBegin + " (written by athd bootstrap --into, which replaces it)"
	titleChanged = markBegin + " (changed by athd bootstrap --into; it was)"
)

func marks(line, mark string) bool {
	rest, ok := strings.CutPrefix(strings.TrimSpace(line), mark)
	return ok && (rest == "" || rest[0] == ' ')
}

// read returns the lines of a text with their ends, less what Insert put in, and
// for each the line that it was.
func read(text []byte) (base []string, origin []int, err error) {
	if len(text) > MaxBytes {
		return nil, nil, refuse(0, "the file is too large", byHand)
	}
	if !utf8.Valid(text) {
		return nil, nil, refuse(0, "the file is not UTF-8", "save it as UTF-8")
	}
	lines := strings.SplitAfter(string(text), "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	begun := -1
	const next = "each \"" + markBegin + "\" needs its \"" + markEnd + "\": put back the one that is missing, or take out both and what is between them"
	for i, line := range lines {
		switch {
		case marks(line, markBegin):
			if begun >= 0 {
				return nil, nil, refuse(i+1, "athd's marks are nested", next)
			}
			begun = i
		case marks(line, markEnd):
			if begun < 0 {
				return nil, nil, refuse(i+1, "athd's mark ends what was not begun", next)
			}
			begun = -1
		case begun < 0:
			base, origin = append(base, line), append(origin, i)
		case strings.HasPrefix(strings.TrimLeft(line, " "), markWas):
			_, was, _ := strings.Cut(line, markWas)
			base, origin = append(base, was), append(origin, i)
		}
	}
	if begun >= 0 {
		return nil, nil, refuse(begun+1, "athd's mark begins what does not end", next)
	}
	if n := len(lines); n > 0 && len(base) > 0 && marks(lines[n-1], markEnd) && !strings.HasSuffix(lines[n-1], "\n") {
		base[len(base)-1] = bare(base[len(base)-1]) // the file had no last line end
	}
	return base, origin, nil
}

// bare is a line without its end.
func bare(line string) string {
	line, ended := strings.CutSuffix(line, "\n")
	if ended {
		line = strings.TrimSuffix(line, "\r")
	}
	return line
}

func join(lines []string) string { return strings.Join(lines, "") }
