// Package into puts athd's parts into an Envoy configuration that somebody else
// wrote, and takes them out again. It edits text: what it adds stands between
// marks, each line that it changes is kept beside what it became, and every other
// byte stays as it was.
//
//	text ─▶ without marks ─▶ tree ─▶ lines to add ─▶ text ─▶ the same tree and
//	                                                        athd's parts? verified?
//
// What cannot be done without a guess is a [Refusal], which says where and what
// to do.
package into

import (
	"errors"
	"fmt"
	"slices"

	"github.com/athd/athd/envoy/bootstrap"
	"github.com/athd/athd/envoy/verify"
)

// MaxBytes is how long a configuration may be.
const MaxBytes = 16 << 20

// Config says what is to be put where.
type Config struct {
	// Parts are what athd needs of an Envoy. Listen, Admin and ListenTLS are
	// the other configuration's own.
	Parts bootstrap.Config
	// Listeners are those that agents reach, as errors name them; none: the one
	// that it must be is found.
	Listeners []string
	// VirtualHost is the one that answers PublicURL's host; "": found.
	VirtualHost string
}

// A Result is a configuration with athd's parts.
type Result struct {
	Text     []byte
	Notes    []Note
	Findings []verify.Finding // warnings only; faults are refused
}

// A Note is what a person should know of the result.
type Note struct {
	Line int // of Text, from 1
	Text string
}

// A Refusal is why a configuration is left as it is.
type Refusal struct {
	Line int // of the text, from 1; 0: no certain one
	What string
	Next string // what to do
}

func (r *Refusal) Error() string {
	where := ""
	if r.Line > 0 {
		where = fmt.Sprintf("line %d: ", r.Line)
	}
	return where + r.What + "\nnext: " + r.Next
}

func refuse(line int, what, next string) *Refusal { return &Refusal{line, what, next} }

const byHand = "put athd's parts in by hand, with athd bootstrap --part"

// Insert returns text with athd's parts in it, as they are by c. Parts that are
// there already are replaced. Errors other than a [Refusal] say that c is wrong.
func Insert(text []byte, c Config) (*Result, error) {
	base, origin, err := read(text)
	if err != nil {
		return nil, err
	}
	result, err := insert(base, c)
	if r, is := errors.AsType[*Refusal](err); is && r.Line > 0 && r.Line <= len(origin) {
		r.Line = origin[r.Line-1] + 1
	}
	return result, err
}

func insert(base []string, c Config) (*Result, error) {
	d, err := parse(base)
	if err != nil {
		return nil, err
	}
	parts, err := printed(c.Parts)
	if err != nil {
		return nil, err
	}
	p := &plan{document: d, config: c, parts: parts, inserted: map[int][]string{}, changed: map[int][]change{}}
	managers, err := p.find()
	if err != nil {
		return nil, err
	}
	if err := p.clusters(); err != nil {
		return nil, err
	}
	for _, m := range managers {
		for _, step := range []func(*manager) error{p.filters, p.settings, p.routes} {
			if err := step(m); err != nil {
				return nil, err
			}
		}
	}
	out, moved := p.render()
	if err := p.check(out); err != nil {
		return nil, err
	}
	findings, err := p.verified(out)
	if err != nil {
		return nil, err
	}
	for i, n := range p.notes {
		p.notes[i].Line = moved[n.Line-1] + 1
	}
	slices.SortStableFunc(p.notes, func(a, b Note) int { return a.Line - b.Line })
	return &Result{Text: []byte(out), Notes: p.notes, Findings: findings}, nil
}

// Remove returns text without what Insert put in.
func Remove(text []byte) ([]byte, error) {
	base, _, err := read(text)
	if err != nil {
		return nil, err
	}
	return []byte(join(base)), nil
}
