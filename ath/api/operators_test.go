package api

import "testing"

// proves: O-1
func TestARoleIncludesThoseBelowIt(t *testing.T) {
	for _, test := range []struct {
		has, least Role
		want       bool
	}{
		{RoleAdmin, RoleAdmin, true}, {RoleAdmin, RoleApprover, true}, {RoleAdmin, RoleViewer, true},
		{RoleApprover, RoleAdmin, false}, {RoleApprover, RoleApprover, true}, {RoleApprover, RoleViewer, true},
		{RoleViewer, RoleAdmin, false}, {RoleViewer, RoleApprover, false}, {RoleViewer, RoleViewer, true},
		{"", RoleViewer, false}, {"", "", false}, {"root", "root", false}, {RoleAdmin, "", false}, {RoleAdmin, "root", false}, {"Admin", RoleViewer, false},
	} {
		if got := test.has.Includes(test.least); got != test.want {
			t.Errorf("%q does what needs %q: %v", test.has, test.least, got)
		}
	}
}
