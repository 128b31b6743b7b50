package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	maxDumpBytes = 256 << 20 // a mesh's Envoy says tens of megabytes
	dumpPatience = time.Minute
)

// ErrEnvoyURL says that a URL is none of Envoy's admin pages.
var ErrEnvoyURL = errors.New("want a URL such as http://127.0.0.1:9901, without a path")

// A DumpError says why there is no dump, and what to do.
type DumpError struct{ Cause, Cure string }

func (e *DumpError) Error() string { return e.Cause }

// Dump asks an Envoy's admin pages what it is configured with. It sends no
// token, and follows no redirect: these pages make none. The error is
// [ErrEnvoyURL] or a [*DumpError].
func Dump(ctx context.Context, admin string) ([]byte, error) {
	return page(ctx, admin, "/config_dump?include_eds")
}

// page asks for one of the admin pages.
func page(ctx context.Context, admin, path string) ([]byte, error) {
	u, err := url.Parse(admin)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" ||
		u.Scheme != "http" && u.Scheme != "https" {
		return nil, ErrEnvoyURL
	}
	base := u.Scheme + "://" + u.Host
	named, _, _ := strings.Cut(path, "?")
	ctx, cancel := context.WithTimeout(ctx, dumpPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	if err != nil {
		return nil, ErrEnvoyURL
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: maxBytes},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		cause := err
		if u := (*url.Error)(nil); errors.As(err, &u) {
			cause = u.Err
		}
		return nil, &DumpError{fmt.Sprintf("%s cannot be asked: %v", base, cause), "check --envoy against admin.address of Envoy's configuration, or give a dump to athctl verify-envoy --dump"}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, &DumpError{fmt.Sprintf("%s answered %d to %s", base, resp.StatusCode, named), "check that --envoy is Envoy's admin address, not that of a listener"}
	}
	dump, err := ReadDump(resp.Body)
	if err != nil {
		return nil, &DumpError{fmt.Sprintf("%s: %v", base, err), "give a dump to athctl verify-envoy --dump"}
	}
	return dump, nil
}

// ReadDump reads a dump, bounded.
func ReadDump(r io.Reader) ([]byte, error) {
	dump, err := io.ReadAll(io.LimitReader(r, maxDumpBytes+1))
	if err != nil {
		return nil, err
	}
	if len(dump) > maxDumpBytes {
		return nil, fmt.Errorf("the dump is larger than %d bytes", maxDumpBytes)
	}
	return dump, nil
}
