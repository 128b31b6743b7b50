package admin

import (
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/httpapi"
)

// Who is not told who the users are ([httpapi.Operator.MaySeeUsers]) gets no id of
// one in any answer, and cannot find out about one by asking for it.

func asksForUser() error {
	return ath.Errorf(ath.Forbidden, "The admin token that was sent is not told who the users are, so that it cannot ask for one: that needs role approver, or sees_users.")
}

// pathFor cuts the path of a refused call where an API begins: APIs have ids of
// users in their paths.
func pathFor(o httpapi.Operator, path string) string {
	if _, ours := ath.FindPath(path); ours || o.MaySeeUsers() || !strings.HasPrefix(path, "/") {
		return path
	}
	if rest, ok := strings.CutPrefix(path, ath.ProxyPath); ok {
		provider, _, _ := strings.Cut(rest, "/")
		return ath.ProxyPath + provider + "/…"
	}
	return "/…"
}
