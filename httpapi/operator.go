package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/audit"
)

// RevokeRole is the least role that ends any token at /ath/revoke (V-2).
const RevokeRole = api.RoleApprover

// An AdminToken lets its bearer act as an operator. Only its digest is kept. An
// operator may have several, so that one follows the other without a gap.
type AdminToken struct {
	Operator
	Digest ath.Digest
}

// An Operator is who brings an admin token, for as long as that holds. The zero Operator is
// nobody, and may nothing.
type Operator struct {
	Name      string
	Role      api.Role
	SeesUsers bool      // a viewer that is told the ids of users; all others are anyway
	Expires   time.Time // from when on the token is nobody's; the zero time: never
}

// MaySeeUsers reports whether the operator is told the ids of users.
func (o Operator) MaySeeUsers() bool {
	return o.Role.Includes(api.RoleApprover) || o.Role == api.RoleViewer && o.SeesUsers
}

// CheckAdminTokens says what is wrong with a set of them.
func CheckAdminTokens(tokens []AdminToken) error {
	for _, t := range tokens {
		switch {
		case t.Digest.IsZero() || t.Name == "":
			return errors.New("httpapi: an admin token has no name or no digest")
		case !slices.Contains(api.Roles(), t.Role):
			return fmt.Errorf("httpapi: the admin token %s has no role", t.Name)
		}
	}
	return nil
}

// HasAdmin reports whether a token of a set, by which somebody may do
// everything, holds at that time. A configuration that takes the last of them
// away must not be taken over by one that has it.
func HasAdmin(tokens []AdminToken, now time.Time) bool {
	return slices.ContainsFunc(tokens, func(t AdminToken) bool { return t.Role.Includes(api.RoleAdmin) && !t.Expired(now) })
}

// OperatorsOf has each operator of a set of tokens once, with the end of the last
// of its tokens.
func OperatorsOf(tokens []AdminToken) (all []Operator) {
	at := map[string]int{}
	for _, t := range tokens {
		i, known := at[t.Name]
		if !known {
			at[t.Name], all = len(all), append(all, t.Operator)
			continue
		}
		if o := &all[i]; t.Expires.IsZero() || !o.Expires.IsZero() && t.Expires.After(o.Expires) {
			o.Expires = t.Expires
		}
	}
	return all
}

// Why an operator's request is refused, as metrics name it.
const (
	RefusedUnknown = "unknown" // without an admin token, or with one that is none
	RefusedExpired = "expired" // with one whose time is over
	RefusedRole    = "role"    // with one of a role that is too small
)

// OperatorRefusals lists them.
func OperatorRefusals() []string { return []string{RefusedUnknown, RefusedExpired, RefusedRole} }

// Expired reports whether the token's time is over.
func (o Operator) Expired(now time.Time) bool {
	return !o.Expires.IsZero() && !now.Before(o.Expires)
}

// Operator returns whose admin token a request carries (V-2, O-1), if it holds.
// Every token is compared, in constant time.
func (s *Server) Operator(h http.Header) (Operator, bool) {
	t, _ := s.adminToken(h)
	if t == nil {
		return Operator{}, false
	}
	return t.Operator, true
}

// adminToken finds the token that a request carries. Of one that has ended only
// the name is known.
func (s *Server) adminToken(h http.Header) (found *AdminToken, expired string) {
	given := h.Values("X-ATH-User-Token")
	if len(given) == 0 {
		for _, v := range h.Values("Authorization") {
			if scheme, value, found := strings.Cut(v, " "); found && strings.EqualFold(scheme, "Bearer") {
				given = append(given, value)
			}
		}
	}
	if len(given) != 1 {
		return nil, ""
	}
	for i := range s.AdminTokens {
		if t := &s.AdminTokens[i]; t.Digest.Matches(given[0]) {
			found = t
		}
	}
	if found != nil && found.Expired(s.Now()) {
		return nil, found.Name
	}
	return found, ""
}

// Authorize lets an operator of at least a role go on, and says in the call and
// its event who it is. Everybody else is refused.
func (s *Server) Authorize(ctx context.Context, c *Call, least api.Role) error {
	t, expired := s.adminToken(c.Header)
	switch {
	case expired != "":
		c.Event.By, c.Event.Reason = expired, "admin token expired"
		s.OperatorRefused(RefusedExpired)
		s.Logger.WarnContext(ctx, "an admin token has expired", "decision_id", c.ID, "operator", expired, "hint", "give the operator another one, and take this one out of admin.tokens")
		return s.noOperator(c.Header, c.From)
	case t == nil:
		s.OperatorRefused(RefusedUnknown)
		return s.noOperator(c.Header, c.From)
	}
	c.Event.By, c.Event.Role = t.Name, string(t.Role)
	if !t.Role.Includes(least) {
		return t.NeedsRole(least)
	}
	c.Operator = t.Operator
	return nil
}

// NeedsRole refuses an operator whose role is too small.
func (o Operator) NeedsRole(least api.Role) error {
	return ath.Errorf(ath.Forbidden, "This needs an admin token of role %s, and the one that was sent has role %s.", least, o.Role).
		WithDetail("required_role", least).WithDetail("role", o.Role)
}

// noOperator refuses who is none. Nobody is told that a token was one once.
func (s *Server) noOperator(h http.Header, from netip.Addr) error {
	if err := s.Guessed(h, from); err != nil {
		return err
	}
	return ath.Errorf(ath.Unauthorized, "An admin token is required.")
}

type operatorKey struct{}

// ForOperators keeps h for operators of at least a role: everybody else is
// refused before anything of a request is decoded. [NewCall] of h's requests
// knows who it is.
func (s *Server) ForOperators(least api.Role, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := s.NewCall(r)
		if err := s.Authorize(r.Context(), c, least); err != nil {
			e := s.AsError(r.Context(), c.ID, err)
			s.RecordRefusal(r, c.refusal(audit.AccessDenied, e.Code), e.Code)
			s.WriteError(w, c.ID, e)
			return
		}
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), operatorKey{}, c.Operator)))
	})
}
