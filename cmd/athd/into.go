package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/athd/athd/envoy/into"
	"github.com/athd/athd/internal/cli"
)

// An insertion is what athd bootstrap --into was asked for.
type insertion struct {
	path        string // of the Envoy configuration that is there; - for standard input and output
	listeners   []string
	virtualHost string
	remove, yes bool
}

// runInto puts athd's parts into an Envoy configuration that is there, or takes
// them out. The difference is shown before anything is written.
func runInto(config string, in insertion, t terminal) error {
	before, err := readInto(in.path, t)
	if err != nil {
		return err
	}
	r, err := in.change(config, before, t)
	if err != nil {
		return err
	}
	after := r.Text
	if in.path == "-" {
		_, err := t.Stdout.Write(after)
		in.notes(r, t)
		return err
	}
	if bytes.Equal(before, after) {
		r.Notes = nil // they were said when it was written
		in.notes(r, t)
		fmt.Fprintf(t.Stderr, "%s has what it should have; nothing to change.\n", in.path)
		return nil
	}
	shown, err := into.Diff(in.path, before, after)
	if err != nil {
		return in.told(err)
	}
	if _, err := t.Stdout.Write(shown); err != nil {
		return err
	}
	in.notes(r, t)
	if !in.yes && !agreed(in.path, t) {
		fmt.Fprintf(t.Stderr, "%s is as it was: nothing was written. --yes writes it.\n", in.path)
		return cli.ErrFound
	}
	if err := replace(in.path, before, after); err != nil {
		return fmt.Errorf("%w\nnext: where no file can be put beside it, let --into - read it from standard input, and write it yourself", err)
	}
	fmt.Fprintf(t.Stderr, "wrote %s\n", in.path)
	return nil
}

// change makes the new text.
func (in insertion) change(config string, before []byte, t terminal) (*into.Result, error) {
	if in.remove {
		after, err := into.Remove(before)
		return &into.Result{Text: after}, in.told(err)
	}
	s, err := t.load(config)
	if err != nil {
		return nil, err
	}
	parts, err := bootstrapConfig(s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", config, err)
	}
	r, err := into.Insert(before, into.Config{Parts: parts, Listeners: in.listeners, VirtualHost: in.virtualHost})
	if _, is := errors.AsType[*into.Refusal](err); err != nil && !is {
		return nil, fmt.Errorf("%s: %w", config, err)
	} else if is {
		return nil, in.told(err)
	}
	return r, nil
}

// notes says what somebody should know of a result.
func (in insertion) notes(r *into.Result, t terminal) {
	told := cli.PrintableWriter{W: t.Stderr}
	for _, n := range r.Notes {
		fmt.Fprintf(told, "note: %s:%d: %s\n", in.path, n.Line, n.Text)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(told, "%s: %s\n  %s\n  remedy: %s\n", f.Severity, f.Where, f.What, f.Remedy)
	}
}

// told is an error with the place in the file that it is about.
func (in insertion) told(err error) error {
	refusal, is := errors.AsType[*into.Refusal](err)
	switch {
	case !is:
		return err
	case refusal.Line > 0:
		return cli.Lines(fmt.Errorf("%s:%d: %s\nnext: %s", in.path, refusal.Line, refusal.What, refusal.Next))
	}
	return cli.Lines(fmt.Errorf("%s: %s\nnext: %s", in.path, refusal.What, refusal.Next))
}

func readInto(path string, t terminal) ([]byte, error) {
	from, name := t.Stdin, "standard input"
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		from, name = f, path
	}
	text, err := io.ReadAll(io.LimitReader(from, into.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return text, nil // Insert refuses what is too long
}

// agreed asks whoever sits at the terminal. Where nobody does, the answer is no.
func agreed(path string, t terminal) bool {
	f, is := t.Stdin.(*os.File)
	if !is {
		return false
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	fmt.Fprintf(t.Stderr, "Write %s? [y/N] ", path)
	line, err := bufio.NewReader(io.LimitReader(f, 100)).ReadString('\n')
	if err != nil {
		fmt.Fprintln(t.Stderr)
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return err == nil && (answer == "y" || answer == "yes")
}
