package httpapi

import (
	"strings"
	"testing"

	"github.com/athd/athd/ath"
)

// Each page that browsers open has places of its own.
func TestPagesHavePlacesOfTheirOwn(t *testing.T) {
	for _, row := range ath.Paths() {
		path := strings.ReplaceAll(row.Sample(), "…", "x")
		if route := routeOf(path); row.Browser() && route != row.Path {
			t.Errorf("the places of %s are those of %q", path, route)
		}
	}
}
