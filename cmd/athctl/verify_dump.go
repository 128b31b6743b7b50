package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/athd/athd/internal/probe"
)

// dump returns what Envoy says of its configuration: from its admin pages, or
// from a file.
func (c *command) dump(ctx context.Context, admin, file string) ([]byte, error) {
	switch file {
	case "":
		return askDump(ctx, admin)
	case "-":
		return readDump(c.Stdin, "standard input")
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readDump(f, file)
}

func readDump(r io.Reader, from string) ([]byte, error) {
	dump, err := probe.ReadDump(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	return dump, nil
}

func askDump(ctx context.Context, admin string) ([]byte, error) {
	dump, err := probe.Dump(ctx, admin)
	if e, ok := errors.AsType[*probe.DumpError](err); ok {
		return nil, fmt.Errorf("%w\nnext: %s", e, e.Cure)
	}
	if err != nil {
		return nil, errors.New("--envoy must be a URL such as http://127.0.0.1:9901, without a path")
	}
	return dump, nil
}
