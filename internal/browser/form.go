package browser

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// A Form is one form of a page, and what a person has typed and ticked in
// it. Its methods change the form and return it; the first one that does not
// fit the page (no such field) makes [Browser.Submit] fail.
type Form struct {
	Action *url.URL
	Method string // GET or POST

	page   *url.URL
	fields []field
	err    error
}

type fieldKind int

const (
	textField fieldKind = iota
	tickField           // checkbox or radio
	buttonField
)

type field struct {
	kind  fieldKind
	radio bool
	name  string
	value string
	label string // of a button
	on    bool   // is sent
}

// Fill types a value into a field.
func (f *Form) Fill(name, value string) *Form {
	for i := range f.fields {
		if f.fields[i].kind == textField && f.fields[i].name == name {
			f.fields[i].value = value
			return f
		}
	}
	return f.fail("no field %q", name)
}

// Tick ticks the box, or chooses the radio button, with that name and value.
func (f *Form) Tick(name, value string) *Form { return f.set(name, value, true) }

// Untick clears the box with that name and value.
func (f *Form) Untick(name, value string) *Form { return f.set(name, value, false) }

func (f *Form) set(name, value string, on bool) *Form {
	found := false
	for i := range f.fields {
		fd := &f.fields[i]
		switch {
		case fd.kind != tickField || fd.name != name:
		case fd.value == value:
			fd.on, found = on, true
		case fd.radio && on:
			fd.on = false
		}
	}
	if !found {
		return f.fail("no box %q with value %q", name, value)
	}
	return f
}

// Press presses the button with that name and value. A form whose only
// button has no name needs no press.
func (f *Form) Press(name, value string) *Form {
	found := false
	for i := range f.fields {
		fd := &f.fields[i]
		if fd.kind == buttonField {
			fd.on = fd.name == name && fd.value == value
			found = found || fd.on
		}
	}
	if !found {
		return f.fail("no button %q with value %q", name, value)
	}
	return f
}

// Click presses the button with that label, upper or lower case.
func (f *Form) Click(label string) *Form {
	for i := range f.fields {
		if fd := &f.fields[i]; fd.kind == buttonField && strings.EqualFold(fd.label, label) {
			for j := range f.fields {
				if f.fields[j].kind == buttonField {
					f.fields[j].on = j == i
				}
			}
			return f
		}
	}
	return f.fail("no button labelled %q", label)
}

// Values returns the values of all fields, boxes and buttons with that name,
// whether they would be sent or not.
func (f *Form) Values(name string) []string {
	var values []string
	for _, fd := range f.fields {
		if fd.name == name {
			values = append(values, fd.value)
		}
	}
	return values
}

// Sent returns what the form would send now.
func (f *Form) Sent() url.Values {
	sent := url.Values{}
	for _, fd := range f.fields {
		if fd.on && fd.name != "" {
			sent.Add(fd.name, fd.value)
		}
	}
	return sent
}

func (f *Form) fail(format string, args ...any) *Form {
	if f.err == nil {
		f.err = fmt.Errorf("form of %s: "+format, append([]any{f.page.Redacted()}, args...)...)
	}
	return f
}

func (f *Form) navigation() (navigation, error) {
	if f.err != nil {
		return navigation{}, f.err
	}
	if f.Action == nil {
		return navigation{}, errors.New("form without an action")
	}
	n := navigation{method: f.Method, url: f.Action, initiator: f.page}
	if f.Method == http.MethodGet {
		// As HTML says: the fields replace the query of the action.
		target := *f.Action
		target.RawQuery = f.Sent().Encode()
		n.url = &target
		return n, nil
	}
	n.body = f.Sent().Encode()
	return n, nil
}

func newForm(page *url.URL, form *html.Node) *Form {
	f := &Form{Method: http.MethodGet, page: page}
	if strings.EqualFold(attr(form, "method"), http.MethodPost) {
		f.Method = http.MethodPost
	}
	action, err := page.Parse(strings.TrimSpace(attr(form, "action")))
	if err != nil {
		f.err = fmt.Errorf("form of %s: %w", page.Redacted(), err)
		return f
	}
	f.Action = action
	for n := range form.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if _, disabled := lookupAttr(n, "disabled"); disabled {
			continue
		}
		switch n.DataAtom {
		case atom.Input:
			f.addInput(n)
		case atom.Button:
			f.addButton(n)
		case atom.Textarea:
			f.fields = append(f.fields, field{name: attr(n, "name"), value: textOf(n), on: true})
		case atom.Select:
			f.fields = append(f.fields, field{name: attr(n, "name"), value: chosen(n), on: true})
		}
	}
	return f
}

func (f *Form) addInput(n *html.Node) {
	name, value := attr(n, "name"), attr(n, "value")
	switch kind := strings.ToLower(attr(n, "type")); kind {
	case "checkbox", "radio":
		if _, given := lookupAttr(n, "value"); !given {
			value = "on"
		}
		_, ticked := lookupAttr(n, "checked")
		f.fields = append(f.fields, field{kind: tickField, radio: kind == "radio", name: name, value: value, on: ticked})
	case "submit", "image":
		f.fields = append(f.fields, field{kind: buttonField, name: name, value: value, label: value})
	case "button", "reset", "file":
	default:
		f.fields = append(f.fields, field{name: name, value: value, on: true})
	}
}

func (f *Form) addButton(n *html.Node) {
	switch strings.ToLower(attr(n, "type")) {
	case "", "submit":
		f.fields = append(f.fields, field{
			kind: buttonField, name: attr(n, "name"), value: attr(n, "value"),
			label: strings.Join(strings.Fields(textOf(n)), " "),
		})
	}
}

// chosen returns the value of a select: its selected option, or its first.
func chosen(n *html.Node) string {
	value, seen := "", false
	for d := range n.Descendants() {
		if d.Type != html.ElementNode || d.DataAtom != atom.Option {
			continue
		}
		v, given := lookupAttr(d, "value")
		if !given {
			v = strings.TrimSpace(textOf(d))
		}
		if _, selected := lookupAttr(d, "selected"); selected || !seen {
			value, seen = v, true
		}
	}
	return value
}
