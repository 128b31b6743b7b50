package provider

import (
	"net/url"
	"strings"

	"github.com/athd/athd/ath"
)

// derive reads rules from the names of scopes, for providers that have none.
// Names: resource:action, a URL whose last part is resource.action, or an
// action alone. A name of any other form derives nothing, so that no request
// matches it.
func derive(scopes ath.Scopes) []Rule {
	var rules []Rule
	for _, scope := range scopes {
		resource, action, ok := splitScope(scope)
		methods := methodsOf(action)
		if !ok || methods == nil {
			continue
		}
		r := Rule{Scope: scope, Methods: methods, Origin: OriginDerived}
		if resource == "" {
			r.Paths, r.patterns = []string{"/**"}, []pattern{{rest: true}}
		} else {
			r.Paths, r.anywhere = []string{"/**/" + resource + "/**"}, resource
		}
		rules = append(rules, r)
	}
	return rules
}

// OpensByName reports whether a scope that nobody wrote rules for opens any
// request, by its name.
func OpensByName(scope string) bool { return len(derive(ath.Scopes{scope})) > 0 }

func methodsOf(action string) []string {
	switch action {
	case "read", "readonly", "list", "view", "get":
		return []string{"GET"}
	case "write", "create", "update", "delete", "manage":
		return []string{"POST", "PUT", "PATCH", "DELETE"}
	}
	return nil
}

// splitScope returns the resource, "" for an action alone, and the action.
func splitScope(scope string) (resource, action string, ok bool) {
	if strings.Contains(scope, "://") {
		u, err := url.Parse(scope)
		if err != nil || u.Host == "" || u.RawQuery != "" || strings.Contains(scope, "#") {
			return "", "", false
		}
		last := u.Path[strings.LastIndexByte(u.Path, '/')+1:]
		dot := strings.LastIndexByte(last, '.')
		if dot < 0 {
			return "", "", false
		}
		resource, action = last[:dot], last[dot+1:]
	} else {
		var named bool
		if resource, action, named = strings.Cut(scope, ":"); !named {
			return "", scope, true
		}
	}
	// A name that no path segment can equal would not match by itself; '*'
	// means something in a rule.
	if !ath.CanonicalSegment(resource) || strings.Contains(resource, "*") {
		return "", "", false
	}
	return resource, action, true
}
