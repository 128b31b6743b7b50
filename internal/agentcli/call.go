package agentcli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/wire"
)

const maxDataBytes = 1 << 20

// A callOptions is what call's flags say.
type callOptions struct {
	provider, data string
	header         headerFlag
	withHeaders    bool
	timeout        time.Duration
	longCall
}

func newCall(t cli.Terminal) *cobra.Command {
	c := newCommand(t, &cobra.Command{
		Use:     "call METHOD PATH|URL",
		Short:   "call the API with the token",
		GroupID: groupHandshake,
		Example: `  athctl try call GET /api/products
  athctl try call --provider shop -H 'Accept: text/csv' -d @cart.json POST /api/cart/add`,
	})
	o := callOptions{header: headerFlag{}}
	c.Flags().StringVar(&o.provider, "provider", "", "the `ID` of the token's provider, where there are several")
	c.Flags().VarP(o.header, "header", "H", "send the header `'NAME: VALUE'` too; several times")
	c.Flags().StringVarP(&o.data, "data", "d", "", "send `DATA` as the body, as JSON if -H does not say otherwise; @FILE reads a file, @- standard input")
	c.Flags().BoolVarP(&o.withHeaders, "include", "i", false, "print the reply's headers too")
	c.Flags().DurationVar(&o.timeout, "timeout", 30*time.Second, "how long the whole reply may take")
	c.longFlags(&o.longCall)
	return c.runs(func(ctx context.Context, plain []string) error {
		switch {
		case len(plain) != 2:
			return cli.Wrong("want METHOD and PATH, such as GET /user")
		case o.timeout <= 0:
			return cli.Wrong("--timeout must be longer than nothing")
		case o.wait < 0 || o.wait > sessionLife:
			return cli.Wrong("--wait wants a time up to %v: no link lives longer", sessionLife)
		case o.yes && !o.ask:
			return cli.Wrong("--yes goes with --ask")
		case o.ask && o.wait == 0:
			return cli.Wrong("--ask waits for the user: --wait must be longer than nothing")
		case o.ask && o.data == "@-" && (!o.yes || o.redirect != "loopback"):
			return cli.Wrong("standard input is the body: with -d @-, --ask wants --yes and --redirect loopback")
		}
		return c.runCall(ctx, plain[0], plain[1], &o)
	})
}

func (c *command) runCall(ctx context.Context, method, path string, o *callOptions) error {
	_, known, err := c.registered()
	if err != nil {
		return err
	}
	name, token, err := c.held(known, o.provider)
	if err != nil {
		return err
	}
	target, err := c.target(&token, path)
	if err != nil {
		return err
	}
	body, err := c.body(o.data)
	if err != nil {
		return err
	}
	if body != nil && http.Header(o.header).Get("Content-Type") == "" {
		http.Header(o.header).Set("Content-Type", "application/json")
	}
	long, err := c.long(name, &token, target, &o.longCall)
	if err != nil {
		return err
	}
	defer long.close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(o.timeout, func() { cancel(context.DeadlineExceeded) })
	defer late.Stop()
	long.waits = func() { late.Reset(o.timeout + o.wait) }
	ex, refusal, err := c.send(ctx, long.access, strings.ToUpper(method), target, http.Header(o.header), body)
	if errors.Is(err, context.Canceled) && errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		err = context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	if err := c.showExchange(ex, o.withHeaders); err != nil {
		return err
	}
	if refusal != nil && *c.format == cli.Text {
		return refusal
	}
	if ex.Status/100 != 2 {
		return cli.ErrFound
	}
	return nil
}

// send makes a call. refusal is athd's, if it was athd that answered (P-9) and
// that is all there is to say.
func (c *command) send(ctx context.Context, by http.RoundTripper, method, target string, header http.Header, body []byte) (ex *wire.Exchange, refusal *client.Error, err error) {
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	maps.Copy(req.Header, header)
	c.last, c.lastOf = nil, req.URL.String()
	resp, err := by.RoundTrip(req)
	if refusal, ok := err.(*client.Error); ok && c.last != nil { //nolint:errorlint // one in another error is not about this call
		return c.last, refusal, nil
	}
	if _, said := errors.AsType[*client.Error](err); said || isToldAsItIs(err) {
		return nil, nil, err
	}
	if err != nil {
		return nil, nil, &url.Error{Op: method, URL: target, Err: err}
	}
	return c.last, nil, resp.Body.Close()
}

// origin is where a token may be sent for a call: see target.
func origin(target string) (string, error) {
	u, err := url.Parse(target)
	if err != nil {
		return "", err
	}
	return u.Scheme + "://" + u.Host, nil
}

// target is the URL of a call. A token goes to its own API and server only.
func (c *command) target(t *heldToken, path string) (string, error) {
	switch {
	case strings.HasPrefix(path, ath.ProxyPath):
		return c.base + path, nil
	case strings.HasPrefix(path, "/"):
		return t.API + path, nil
	}
	u, err := url.Parse(path)
	if err != nil || u.Host == "" || u.User != nil {
		return "", cli.Wrong("%q is neither a path of the API nor a URL", cli.Printable(path, 200))
	}
	api, err := url.Parse(t.API)
	if err != nil {
		return "", err
	}
	if origin := u.Scheme + "://" + u.Host; origin != c.base && origin != api.Scheme+"://"+api.Host {
		return "", fmt.Errorf("the token is for %s, and would go to %s\nnext: give a path of the API", t.API, cli.Printable(origin, 200))
	}
	return path, nil
}

// body is what -d says.
func (c *command) body(data string) ([]byte, error) {
	name, isFile := strings.CutPrefix(data, "@")
	if data == "" || !isFile {
		if data == "" {
			return nil, nil
		}
		return []byte(data), nil
	}
	from := c.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		from = f
	}
	text, err := io.ReadAll(io.LimitReader(from, maxDataBytes+1))
	if err == nil && len(text) > maxDataBytes {
		err = fmt.Errorf("%s is larger than %d bytes", data, maxDataBytes)
	}
	return text, err
}

// showExchange prints a reply: for people its status and body, for programs
// an object.
func (c *command) showExchange(ex *wire.Exchange, withHeaders bool) error {
	if *c.format == cli.JSON {
		return c.JSON(map[string]any{"method": ex.Method, "url": ex.URL, "status": ex.Status, "headers": ex.Header, "body": bodyOf(ex.Reply)})
	}
	w := cli.PrintableWriter{W: c.Stdout}
	fmt.Fprintf(w, "%d %s\n", ex.Status, http.StatusText(ex.Status))
	if withHeaders {
		for _, name := range slices.Sorted(maps.Keys(ex.Header)) {
			fmt.Fprintf(w, "%s: %s\n", name, strings.Join(ex.Header[name], ", "))
		}
	}
	if len(ex.Reply) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "\n%s\n", bytes.TrimRight(ex.Reply, "\n"))
	return err
}

// bodyOf is a reply's body as JSON has it: itself, a text, or else bytes in
// base64.
func bodyOf(text []byte) any {
	switch {
	case len(text) > 0 && json.Valid(text):
		return json.RawMessage(text)
	case utf8.Valid(text):
		return string(text)
	}
	return map[string][]byte{"base64": text}
}

// headerFlag is a flag for headers, which may be given several times.
type headerFlag http.Header

func (h headerFlag) String() string { return "" }

func (h headerFlag) Type() string { return "header" }

func (h headerFlag) Set(text string) error {
	name, value, ok := strings.Cut(text, ":")
	name = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name))
	switch {
	case !ok || name == "":
		return errors.New("want NAME: VALUE")
	case name == "Authorization" || name == "X-Ath-Agent-Id":
		return errors.New("that header is athctl's to send: the token, and the agent's id")
	}
	http.Header(h).Add(name, strings.TrimSpace(value))
	return nil
}
