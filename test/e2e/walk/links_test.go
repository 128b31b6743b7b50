package walk

import (
	"net/http"
	"testing"

	"github.com/athd/athd/test/harness/stage"
)

// What an API says of its own addresses passes as it is: agents map it, as
// docs/agents.md tells them to. Where they do, the call passes.
// F-22
func TestAnAPIsLinksPassAsTheyAre(t *testing.T) {
	s := stage.Start(t, stage.Options{})
	token := s.Token(s.NewAgent("a"), stage.Provider, "pictures:read")
	link, location := `<`+s.Gallery.URL+`/pictures?page=2>; rel="next", </pictures?page=9>; rel="last"`, s.Gallery.URL+"/pictures/1"
	moved := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", link)
		w.Header().Set("Location", location)
		w.WriteHeader(http.StatusFound)
	}
	s.Gallery.Serve("/pictures/old", moved)
	s.Gallery.Serve("/v1/pictures/old", moved)
	r := raw(t, s, request(s, "GET", "/ath/proxy/gallery/pictures/old", token.Access.Reveal(), token.AgentID, "Connection: close")...)
	if r.status != http.StatusFound || r.header.Get("Link") != link || r.header.Get("Location") != location {
		t.Errorf("%d: Link %q, Location %q", r.status, r.header.Get("Link"), r.header.Get("Location"))
	}
	if r := raw(t, s, request(s, "GET", "/ath/proxy/gallery/pictures?page=2", token.Access.Reveal(), token.AgentID, "Connection: close")...); r.status != http.StatusOK {
		t.Errorf("the next page, mapped: %d %s", r.status, r.body)
	}
}
