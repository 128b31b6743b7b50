package api

import "slices"

// A Role says what an operator may do. The zero value may nothing.
type Role string

// The roles. Each includes those before it.
const (
	// RoleViewer sees registrations, providers, connections and refusals; ids of
	// users only if its token says so.
	RoleViewer Role = "viewer"
	// RoleApprover decides about agents, takes rights away from whomever, and sees
	// whose they were.
	RoleApprover Role = "approver"
	// RoleAdmin also decides where users' tokens go: providers and their endpoints.
	RoleAdmin Role = "admin"
)

// Roles lists the roles, the least first.
func Roles() []Role { return []Role{RoleViewer, RoleApprover, RoleAdmin} }

// Includes reports whether whoever has the role may do what needs the other. A
// role that is none includes none, and is included in none.
func (r Role) Includes(least Role) bool {
	needs := slices.Index(Roles(), least)
	return needs >= 0 && slices.Index(Roles(), r) >= needs
}

// A WhoAmI is the answer of GET /ath/admin/whoami: the operator whose admin token
// was sent.
type WhoAmI struct {
	Name      string `json:"name"`
	Role      Role   `json:"role"`
	SeesUsers bool   `json:"sees_users"`        // is told the ids of users
	Expires   string `json:"expires,omitempty"` // RFC 3339; not there where the token has no end
}
