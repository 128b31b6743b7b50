package admin

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/ath/api"
	"github.com/athd/athd/httpapi"
)

// A door of which nobody said who may open it does not open for all: it is not
// built.
// proves: O-1
func TestADoorWithoutARoleIsNotBuilt(t *testing.T) {
	s := &API{Config: Config{Server: &httpapi.Server{}}}
	open := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for name, doors := range map[string][]Door{
		"no role":             {{http.MethodPost, "/ath/admin/new", "", open}},
		"a role that is none": {{http.MethodPost, "/ath/admin/new", "root", open}},
		"one door twice":      {{http.MethodPost, "/ath/admin/new", api.RoleAdmin, open}, {http.MethodPost, "/ath/admin/new", api.RoleViewer, open}},
	} {
		if routes, err := s.routesOf(doors); err == nil || !routes.IsZero() {
			t.Errorf("%s: %v, %v", name, routes, err)
		}
	}
	if routes, err := s.routesOf([]Door{{http.MethodPost, "/ath/admin/new", api.RoleAdmin, open}}); err != nil || routes.IsZero() {
		t.Errorf("with a role: %v", err)
	}
}

// A step that is reached by no door of the table runs for nobody.
// proves: O-1
func TestAStepOfOperatorsRunsForNobodyElse(t *testing.T) {
	ran := false
	step := byOperator(func(context.Context, *httpapi.Call, *httpapi.EmptyRequest) (bool, error) {
		ran = true
		return true, nil
	})
	_, err := step(t.Context(), &httpapi.Call{}, &httpapi.EmptyRequest{})
	if e := (*ath.Error)(nil); !errors.As(err, &e) || e.Code != ath.Unauthorized || ran {
		t.Errorf("%v, ran: %v", err, ran)
	}
	if _, err := step(t.Context(), &httpapi.Call{Operator: httpapi.Operator{Name: "ada", Role: api.RoleAdmin}}, &httpapi.EmptyRequest{}); err != nil || !ran {
		t.Errorf("%v, ran: %v", err, ran)
	}
}
