package strict

import (
	"iter"
	"maps"
	"reflect"
	"slices"
)

// nearest returns the known key that key is probably a misspelling of, or "".
func nearest(key string, fields map[string]reflect.Type) string {
	return among(key, maps.Keys(fields))
}

// Nearest returns the name of which written is probably a misspelling, or "".
func Nearest(written string, names []string) string {
	return among(written, slices.Values(names))
}

func among(key string, names iter.Seq[string]) string {
	best, bestName := 1+min(len(key), 64)/4, "" // at most about a quarter may differ
	for name := range names {
		d := distance(clip(key), name)
		if d < best || d == best && (bestName == "" || name < bestName) {
			best, bestName = d, name
		}
	}
	return bestName
}

// distance is the number of single-byte insertions, deletions and
// replacements between a and b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// clip bounds what a message shows of a key.
func clip(key string) string {
	if len(key) > 64 {
		return key[:64] + "…"
	}
	return key
}
