package admin

import (
	"strconv"
	"strings"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/audit"
	"github.com/athd/athd/tokenstore"
)

// An agent chooses how many scopes it asks for; an event names no more than fit.
// proves: U-1
func TestAChangeIsBoundedHoweverMuchAnAgentAskedFor(t *testing.T) {
	var many ath.Scopes
	for i := range 2000 {
		many = append(many, "scope-of-a-long-name:"+strconv.Itoa(i))
	}
	before := &tokenstore.Agent{Approvals: []tokenstore.Approval{{Provider: "gallery", Pending: many}, {Provider: "shop", Pending: many[:3]}}}
	after := &tokenstore.Agent{Approvals: []tokenstore.Approval{{Provider: "gallery", Approved: many}, {Provider: "shop", Pending: many[:3]}}}
	var e audit.Event
	changes(&e, stateOf(before), stateOf(after))
	if e.Before != `{"pending":2000,"status":"pending"}` || e.After != `{"approved":2000,"status":"approved"}` {
		t.Errorf("%.200s\n%.200s", e.Before, e.After)
	}
	changes(&e, stateOf(before), nil)
	if e.Before != `{"pending":2003,"status":"pending"}` || e.After != "" {
		t.Errorf("%.200s\n%.200s", e.Before, e.After)
	}
	names := members{"status": "pending"}
	for i := range 200 {
		names[strconv.Itoa(i)+" denial_reason"] = strings.Repeat("x", 500)
	}
	if got := names.text(); got != `{"status":"pending"}` {
		t.Errorf("%.200s", got)
	}
}
