package admin

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/provider"
)

// A document is a provider as an operator writes it: the members of the JSON object,
// by name, as they were written. It holds secrets.
type document map[string]jsontext.Value

// Members of a document that say which provider, and which state of it, is meant; the
// others are what it is.
const (
	memberID         = "provider_id"
	memberSchema     = "$schema"
	memberGeneration = "generation"
)

// readDocument cuts a document into its members. The error says where it is none.
func readDocument(data []byte) (document, *api.ProviderFault) {
	d := jsontext.NewDecoder(bytes.NewReader(data))
	var doc document
	err := json.UnmarshalDecode(d, &doc)
	if err == nil {
		if _, end := d.ReadToken(); !errors.Is(end, io.EOF) {
			return nil, &api.ProviderFault{Message: "want one JSON object"}
		}
	}
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok && errors.Is(syntax.Err, jsontext.ErrDuplicateName) {
		return nil, &api.ProviderFault{Pointer: string(syntax.JSONPointer), Message: "is given twice"}
	}
	if err != nil || doc == nil {
		return nil, &api.ProviderFault{Message: "want a JSON object"}
	}
	return doc, nil
}

// fields are what the provider is, without which one it is.
func (d document) fields() document {
	out := maps.Clone(d)
	for _, name := range []string{memberID, memberSchema, memberGeneration} {
		delete(out, name)
	}
	return out
}

// merge returns the document with a patch's members in place of its own; null takes
// one away (RFC 7396, at the top level).
func (d document) merge(patch document) document {
	out := maps.Clone(d)
	for name, value := range patch {
		if out[name] = value; value.Kind() == 'n' {
			delete(out, name)
		}
	}
	return out
}

// has reports whether a member is there, and is not null.
func (d document) has(name string) bool {
	v, ok := d[name]
	return ok && v.Kind() != 'n'
}

// encode writes the document in one form, whatever form it came in.
func (d document) encode() ([]byte, error) {
	b, err := json.Marshal(d, json.Deterministic(true))
	if err != nil {
		return nil, err
	}
	v := jsontext.Value(b)
	return v, v.Canonicalize()
}

// kept are the members that hold secrets, that a change keeps, and that would reach
// another place by it (O-1).
func kept(was, patch document, moved []string) []string {
	if len(moved) == 0 {
		return nil
	}
	var names []string
	for _, name := range []string{"client_secret", "extra_token_params"} {
		if _, sent := patch[name]; was.has(name) && !sent {
			names = append(names, name)
		}
	}
	if !slices.Contains(moved, "token_endpoint") && !slices.Contains(moved, "issuer") {
		names = slices.DeleteFunc(names, func(name string) bool { return name == "extra_token_params" })
	}
	return names
}

// differ returns of two documents the members that are not the same in both.
func differ(was, now document) (before, after document) {
	before, after = document{}, document{}
	for name, value := range was {
		if !bytes.Equal(value, now[name]) {
			before[name] = value
		}
	}
	for name, value := range now {
		if !bytes.Equal(value, was[name]) {
			after[name] = value
		}
	}
	return before, after
}

// storedDocument is that of a provider that the catalog has.
func storedDocument(config ath.Secret) (document, error) {
	doc, fault := readDocument([]byte(config.Reveal()))
	if fault != nil {
		return nil, errors.New("the stored configuration is no JSON object")
	}
	return doc, nil
}

// fits says what is wrong with a provider among the others that there are.
func (s *API) fits(p *provider.Provider) []api.ProviderFault {
	now := s.Providers.Current()
	set, err := now.With(nil, p)
	if err != nil {
		return []api.ProviderFault{{Pointer: "/" + memberID, Message: err.Error()}}
	}
	mixed := provider.MixedUp(set, s.CallbackPerProvider)
	if len(mixed) == 0 || len(provider.MixedUp(now, s.CallbackPerProvider)) > 0 && !slices.Contains(mixed, p) {
		return nil
	}
	if slices.Contains(mixed, p) {
		return []api.ProviderFault{{Pointer: "/token_auth_method", Message: "is " + provider.MixUp}}
	}
	return []api.ProviderFault{{Message: "another OAuth server than that of " + mixed[0].ID + ", which is " + provider.MixUp}}
}
