package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/provider"
)

// documentFlags say what a provider is, or what of it changes.
type documentFlags struct {
	from, secretFile, preset, issuer *string
}

func addDocumentFlags(c *cobra.Command) documentFlags {
	return documentFlags{
		from:       c.Flags().String("from", "", "a JSON `file` with the provider's fields, as one entry of providers.json; - is standard input"),
		secretFile: c.Flags().String("secret-file", "", "the `file` that holds the client secret; - is standard input"),
		preset:     c.Flags().String("preset", "", "the `name` of a preset (athctl scopes)"),
		issuer:     c.Flags().String("issuer", "", "the OAuth server's issuer `URL`, which stands for its endpoints"),
	}
}

// lists are the fields of which KEY=A,B stands for several values.
var lists = []string{"available_scopes", "categories", "extra_scopes", "token_types", "denied_errors", "refresh_denied_errors", "allow_encoded"}

// secretFields are never taken from a command line, which everybody on the machine
// can read, and the shell keeps.
var secretFields = []string{"client_secret", "extra_token_params"}

// read puts a document together: the file, then what the command line says.
func (f documentFlags) read(t cli.Terminal, assignments []string) (map[string]any, error) {
	if *f.from == "-" && *f.secretFile == "-" {
		return nil, cli.Wrong("--from and --secret-file cannot both read standard input")
	}
	doc := map[string]any{}
	if *f.from != "" {
		data, err := readBounded(t, *f.from)
		if err != nil {
			return nil, err
		}
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		if err := d.Decode(&doc); err != nil || doc == nil || d.More() {
			return nil, fmt.Errorf("%s does not hold one JSON object", *f.from)
		}
	}
	for _, a := range assignments {
		if err := assign(doc, a); err != nil {
			return nil, err
		}
	}
	for name, value := range map[string]string{"preset": *f.preset, "issuer": *f.issuer} {
		if value != "" {
			doc[name] = value
		}
	}
	if *f.secretFile != "" {
		data, err := readBounded(t, *f.secretFile)
		if err != nil {
			return nil, err
		}
		secret := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
		if secret == "" {
			return nil, fmt.Errorf("%s is empty", *f.secretFile)
		}
		doc["client_secret"] = strings.ReplaceAll(secret, "${", "$${")
	}
	return doc, nil
}

// assign reads KEY=VALUE, whose value is text or, of a list, several separated by
// commas, and KEY:=JSON, of which null takes the field away.
func assign(doc map[string]any, text string) error {
	key, value, ok := strings.Cut(text, "=")
	if !ok || key == "" {
		return cli.Wrong("want KEY=VALUE or KEY:=JSON, such as display_name=\"The Shop\" or refresh:=false")
	}
	key, raw := strings.CutSuffix(key, ":")
	if slices.Contains(secretFields, key) && value != "null" {
		return cli.Wrong("%s may be a secret, and a command line is no place for one: use --secret-file, or --from", key)
	}
	switch {
	case raw:
		d := json.NewDecoder(strings.NewReader(value))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil || d.More() {
			return cli.Wrong("%s: what follows := is not one JSON value", cli.Printable(key, 60))
		}
		doc[key] = v
	case slices.Contains(lists, key):
		doc[key] = strings.Split(value, ",")
	default:
		doc[key] = value
	}
	return nil
}

// readBounded reads a file, or standard input, of a document's size at most.
func readBounded(t cli.Terminal, path string) ([]byte, error) {
	from := t.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		from = f
	}
	data, err := io.ReadAll(io.LimitReader(from, provider.MaxBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > provider.MaxBytes {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, provider.MaxBytes)
	}
	return data, nil
}
