package main

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

	"github.com/athd/athd/ath"
	identity "github.com/athd/athd/cmd/athdemo/agent"
)

const maxDataBytes = 1 << 20

func runCall(ctx context.Context, args []string, c *agentCommand) error {
	header := headerFlag{}
	provider := c.String("provider", "", "the `ID` of the token's provider, where there are several")
	c.Var(header, "H", "send the header `'NAME: VALUE'` too; several times")
	data := c.String("d", "", "send `DATA` as the body, as JSON if -H does not say otherwise; @FILE reads a file, @- standard input")
	withHeaders := c.Bool("i", false, "print the reply's headers too")
	timeout := c.Duration("timeout", 30*time.Second, "how `long` the whole reply may take")
	plain, err := c.parse(args)
	switch {
	case err != nil:
		return err
	case len(plain) != 2:
		return c.wrong("want METHOD and PATH, such as GET /user")
	case *timeout <= 0:
		return c.wrong("-timeout must be longer than nothing")
	}
	_, known, err := c.registered()
	if err != nil {
		return err
	}
	_, token, err := c.held(known, *provider)
	if err != nil {
		return err
	}
	target, err := c.target(&token, plain[1])
	if err != nil {
		return err
	}
	body, err := c.body(*data)
	if err != nil {
		return err
	}
	if body != nil && http.Header(header).Get("Content-Type") == "" {
		http.Header(header).Set("Content-Type", "application/json")
	}
	c.client.Timeout = *timeout
	ex, err := c.client.CallURL(ctx, token.Access.Reveal(), strings.ToUpper(plain[0]), target, http.Header(header), body)
	if err != nil {
		return err
	}
	if err := c.showExchange(ex, *withHeaders); err != nil {
		return err
	}
	if refusal := isRefusalOfATH(ex); refusal != nil && *c.output == "text" {
		return refusal
	}
	if ex.Status/100 != 2 {
		return errFound
	}
	return nil
}

// target is the URL of a call. A token goes to its own API and server only.
func (c *agentCommand) target(t *agentToken, path string) (string, error) {
	switch {
	case strings.HasPrefix(path, ath.ProxyPath):
		return c.base + path, nil
	case strings.HasPrefix(path, "/"):
		return t.API + path, nil
	}
	u, err := url.Parse(path)
	if err != nil || u.Host == "" || u.User != nil {
		return "", c.wrong("%q is neither a path of the API nor a URL", printable(path, 200))
	}
	api, err := url.Parse(t.API)
	if err != nil {
		return "", err
	}
	if origin := u.Scheme + "://" + u.Host; origin != c.base && origin != api.Scheme+"://"+api.Host {
		return "", fmt.Errorf("the token is for %s, and would go to %s\nnext: give a path of the API", t.API, printable(origin, 200))
	}
	return path, nil
}

// body is what -d says.
func (c *agentCommand) body(data string) ([]byte, error) {
	name, isFile := strings.CutPrefix(data, "@")
	if data == "" || !isFile {
		if data == "" {
			return nil, nil
		}
		return []byte(data), nil
	}
	from := c.stdin
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
func (c *agentCommand) showExchange(ex *identity.Exchange, withHeaders bool) error {
	if *c.output == "json" {
		return c.json(map[string]any{"method": ex.Method, "url": ex.URL, "status": ex.Status, "headers": ex.Header, "body": bodyOf(ex.Reply)})
	}
	w := printableWriter{c.stdout}
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
