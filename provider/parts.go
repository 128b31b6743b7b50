package provider

import (
	"maps"
	"slices"
	"strings"
)

// partSize is how many providers a part has at most. Of 10,000, what changes one copies
// so many, and as many parts.
const partSize = 128

// parts are providers, ordered by id, in pieces of which none is empty. They are
// immutable: changed ones share all pieces with them in which nothing changed.
type parts [][]*Provider

// each calls use with each, until it returns false.
func (l parts) each(use func(*Provider) bool) {
	for _, part := range l {
		for _, p := range part {
			if !use(p) {
				return
			}
		}
	}
}

// merge puts what was added between those that were there, without those that left.
func (l parts) merge(added []*Provider, left map[string]bool) parts {
	slices.SortFunc(added, func(a, b *Provider) int { return strings.Compare(a.ID, b.ID) })
	places := slices.AppendSeq(make([]string, 0, len(left)+len(added)), maps.Keys(left))
	for _, p := range added {
		if !left[p.ID] {
			places = append(places, p.ID)
		}
	}
	slices.Sort(places)
	if len(l) == 0 {
		return parts(nil).cut(mergePart(nil, places, added, left))
	}
	out := make(parts, 0, len(l)+1)
	for len(places) > 0 {
		// It goes into the last part that does not begin behind it, or into the first one.
		n, begins := slices.BinarySearchFunc(l, places[0], func(part []*Provider, id string) int { return compareID(part[0], id) })
		if !begins {
			n = max(n-1, 0)
		}
		here, come := len(places), len(added)
		if n+1 < len(l) { // what follows the first of the next part is the next part's
			next := l[n+1][0].ID
			here, _ = slices.BinarySearch(places, next)
			come, _ = slices.BinarySearchFunc(added, next, compareID)
		}
		out = append(out, l[:n]...).cut(mergePart(l[n], places[:here], added[:come], left))
		l, places, added = l[n+1:], places[here:], added[come:]
	}
	return append(out, l...)
}

func compareID(p *Provider, id string) int { return strings.Compare(p.ID, id) }

// cut appends providers, in as many parts as they need.
func (l parts) cut(all []*Provider) parts {
	if len(all) <= partSize {
		if len(all) == 0 {
			return l
		}
		return append(l, all)
	}
	n := (len(all) + partSize/2 - 1) / (partSize / 2)
	return slices.AppendSeq(l, slices.Chunk(all, (len(all)+n-1)/n))
}

// mergePart is one part as it becomes. places are the ids at which something comes or
// goes.
func mergePart(was []*Provider, places []string, added []*Provider, left map[string]bool) []*Provider {
	out := make([]*Provider, 0, len(was)+len(added))
	for _, id := range places {
		n, _ := slices.BinarySearchFunc(was, id, compareID)
		out, was = append(out, was[:n]...), was[n:]
		if left[id] {
			was = was[1:]
		}
		if len(added) > 0 && added[0].ID == id {
			out, added = append(out, added[0]), added[1:]
		}
	}
	return append(out, was...)
}

// others are the providers of each that are in parts which the other one has not.
func others(a, b parts) (onlyA, onlyB []*Provider) {
	for len(a) > 0 && len(b) > 0 {
		switch x, y := a[0], b[0]; {
		case &x[0] == &y[0]: // parts are never written again
			a, b = a[1:], b[1:]
		case x[0].ID <= y[0].ID:
			onlyA, a = append(onlyA, x...), a[1:]
		default:
			onlyB, b = append(onlyB, y...), b[1:]
		}
	}
	return append(onlyA, slices.Concat(a...)...), append(onlyB, slices.Concat(b...)...)
}
