package config

import (
	"github.com/athd/athd/strict"
)

// callback says where OAuth servers send users back: all to one redirect URI,
// as the ATH tutorial has it, or each to one of its own (RFC 9700, section 4.4).
func (l *loader) callback() {
	switch l.c.Callback {
	case "", "shared":
	case "per_provider":
		l.s.CallbackPerProvider = true
	default:
		l.Fail("want shared or per_provider", "callback")
	}
}

// authMethodFault places a fault of a provider or app at its token_auth_method.
func (l *loader) authMethodFault(id, message string) {
	const name = "token_auth_method"
	for i, app := range l.c.Apps {
		if appID(app) == id {
			l.Fail(message, "apps", i, "oauth", name)
			return
		}
	}
	path := l.resolve(l.c.ProvidersFile)
	data, _, err := l.ReadFile(path)
	if err != nil {
		l.Fail(message, "providers_file")
		return
	}
	var raw any
	doc, _ := strict.JSON(path, data, &raw)
	c := strict.Checker{Doc: doc, Base: []any{id}}
	c.Fail(message, name)
	l.Faults = append(l.Faults, c.Faults...)
}
