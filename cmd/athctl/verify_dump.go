package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	maxDumpBytes = 256 << 20 // a mesh's Envoy says tens of megabytes
	dumpPatience = time.Minute
)

// dump returns what Envoy says of its configuration: from its admin pages, or
// from a file.
func (c *command) dump(ctx context.Context, admin, file string) ([]byte, error) {
	switch file {
	case "":
		return fetchDump(ctx, admin)
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
	dump, err := io.ReadAll(io.LimitReader(r, maxDumpBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	if len(dump) > maxDumpBytes {
		return nil, fmt.Errorf("%s: the dump is larger than %d bytes", from, maxDumpBytes)
	}
	return dump, nil
}

// fetchDump asks Envoy itself. It sends no token, and follows no redirect:
// the admin pages make none.
func fetchDump(ctx context.Context, admin string) ([]byte, error) {
	u, err := url.Parse(admin)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" ||
		u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("--envoy must be a URL such as http://127.0.0.1:9901, without a path")
	}
	base := u.Scheme + "://" + u.Host
	ctx, cancel := context.WithTimeout(ctx, dumpPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/config_dump?include_eds", nil)
	if err != nil {
		return nil, err
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		cause := err
		if u := (*url.Error)(nil); errors.As(err, &u) {
			cause = u.Err
		}
		return nil, fmt.Errorf("%s cannot be asked: %w\nnext: check --envoy against admin.address of Envoy's configuration, or give a dump by --dump", base, cause)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %d to /config_dump\nnext: check that --envoy is Envoy's admin address, not that of a listener", base, resp.StatusCode)
	}
	return readDump(resp.Body, base)
}
