package verify

import (
	"slices"

	expr "google.golang.org/genproto/googleapis/api/expr/v1alpha1"

	"github.com/athd/athd/envoy"
)

// wantsSaidHost reports whether a condition in CEL is true only where the request
// goes to the very host that athd said: if it compares the two, alone or joined to
// others by &&. Whatever else it may be is not read.
func wantsSaidHost(e *expr.Expr) bool {
	call := e.GetCallExpr()
	switch call.GetFunction() {
	case "_&&_":
		return slices.ContainsFunc(call.GetArgs(), wantsSaidHost)
	case "_==_":
		if len(call.GetArgs()) != 2 {
			return false
		}
		a, b := attributeOf(call.Args[0]), attributeOf(call.Args[1])
		return isHost(a) && isSaidHost(b) || isHost(b) && isSaidHost(a)
	}
	return false
}

func isHost(attribute []string) bool {
	return slices.Equal(attribute, []string{"request", "host"}) || slices.Equal(attribute, []string{"request", "headers", envoy.HeaderAuthority})
}

func isSaidHost(attribute []string) bool {
	return slices.Equal(attribute, []string{"metadata", "filter_metadata", envoy.CheckFilter, envoy.MetaHost})
}

// attributeOf returns the names of an attribute, such as a.b or a["b"]; nil for any
// other expression.
func attributeOf(e *expr.Expr) []string {
	of := func(base *expr.Expr, name string) []string {
		if names := attributeOf(base); names != nil {
			return append(names, name)
		}
		return nil
	}
	switch k := e.GetExprKind().(type) {
	case *expr.Expr_IdentExpr:
		return []string{k.IdentExpr.GetName()}
	case *expr.Expr_SelectExpr:
		if !k.SelectExpr.GetTestOnly() {
			return of(k.SelectExpr.GetOperand(), k.SelectExpr.GetField())
		}
	case *expr.Expr_CallExpr:
		if args := k.CallExpr.GetArgs(); k.CallExpr.GetFunction() == "_[_]" && len(args) == 2 && k.CallExpr.GetTarget() == nil {
			if name, ok := args[1].GetConstExpr().GetConstantKind().(*expr.Constant_StringValue); ok {
				return of(args[0], name.StringValue)
			}
		}
	}
	return nil
}
