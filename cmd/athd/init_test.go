package main

import (
	"bufio"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/athd/athd/config/starter"
	"github.com/athd/athd/provider/metadata"
)

func TestInitAsksForWhatTheFlagsDoNotSay(t *testing.T) {
	for _, test := range []struct {
		name, answers string
		before, want  beginning
		asked         int
	}{
		{
			"an API of one's own", "\nhttps://login.example.com\n http://127.0.0.1:3000 \nathd\n", beginning{},
			beginning{issuer: "https://login.example.com", Choices: starter.Choices{Upstream: "http://127.0.0.1:3000", ClientID: "athd"}}, 4,
		},
		{"a known service", "GitHub\n\n", beginning{}, beginning{Choices: starter.Choices{Preset: "github"}}, 2},
		{
			"the rest", "http://127.0.0.1:3000\n", beginning{issuer: "https://login.example.com", Choices: starter.Choices{ClientID: "athd"}},
			beginning{issuer: "https://login.example.com", Choices: starter.Choices{Upstream: "http://127.0.0.1:3000", ClientID: "athd"}}, 1,
		},
		{"nobody answers", "", beginning{}, beginning{}, 1},
	} {
		b, out := test.before, strings.Builder{}
		if err := b.questions(bufio.NewReader(strings.NewReader(test.answers)), &out); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if b.issuer != test.want.issuer || b.Upstream != test.want.Upstream || b.ClientID != test.want.ClientID || b.Preset != test.want.Preset {
			t.Errorf("%s: %+v, want %+v", test.name, b, test.want)
		}
		if asked := strings.Count(out.String(), ": "); asked != test.asked {
			t.Errorf("%s: %d questions, want %d\n%s", test.name, asked, test.asked, &out)
		}
	}
}

func TestAServiceThatIsNotKnownIsSaidAtOnce(t *testing.T) {
	var b beginning
	var out strings.Builder
	err := b.questions(bufio.NewReader(strings.NewReader("nosuch\n\n")), &out)
	if err == nil || !strings.Contains(err.Error(), `no known service "nosuch": there are github, `) || strings.Count(out.String(), ": ") != 1 {
		t.Errorf("%v\n%s", err, &out)
	}
}

func TestNobodyIsAskedWithoutATerminal(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	for name, stream := range map[string]any{"the null device": null, "a pipe": read, "a text": strings.NewReader("")} {
		if isTerminal(stream) {
			t.Errorf("%s passes for a terminal", name)
		}
	}
}

// proves: A-7
func TestInitAsksAPrivateAddressOnItsOwnMachineOnly(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	for _, test := range []struct {
		publicURL    string
		allowPrivate bool
		want         metadata.Reason
	}{
		{"https://gateway.example.com", false, metadata.Refused},
		{"https://gateway.example.com", true, metadata.NotFound},
		{"http://localhost:8080", false, metadata.NotFound},
		{"", false, metadata.Refused},
	} {
		b := beginning{Choices: starter.Choices{PublicURL: test.publicURL}, allowPrivate: test.allowPrivate}
		_, err := metadata.Fetch(t.Context(), b.client(), server.URL)
		if e, ok := errors.AsType[*metadata.Error](err); !ok || e.Reason != test.want {
			t.Errorf("%+v: %v", test, err)
		}
	}
}

// Whoever owns .athd knows the admin token in it, whatever its mode, and a link
// there has athd write elsewhere.
func TestPrivateDirIsOnesOwn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), ".athd")
	if err := privateDir(dir); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !ownedBy(info, os.Geteuid()) || ownedBy(info, os.Geteuid()+1) {
		t.Error("the owner is another one")
	}
	if os.Geteuid() != 0 {
		return // nobody else can give a folder away
	}
	if err := os.Chown(dir, 65534, -1); err != nil {
		t.Fatal(err)
	}
	if err := privateDir(dir); err == nil || !strings.Contains(err.Error(), "belongs to somebody else") {
		t.Errorf("err = %v", err)
	}
}
