package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/athd/athd/config"
	"github.com/athd/athd/config/configtest"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/tokenstore"
)

// The section of the operator's guide about rotation is a rotation: its commands run
// as they are written, on two athd, and print what it says.
func TestTheGuideRotatesTheKeys(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Rotate the keys\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := regexp.MustCompile("(?s)```console\n\\$ athd (.*?)\n(.*?)```").FindAllStringSubmatch(section, -1)
	if len(blocks) != 5 {
		t.Fatalf("there are %d commands", len(blocks))
	}
	w := newGuideWorld(t)
	for _, block := range blocks {
		command, want := block[1], block[2]
		for name, id := range w.ids {
			command = strings.ReplaceAll(command, name, id)
		}
		var out, errs strings.Builder
		code := run(strings.Fields(command), terminal{cli.Terminal{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, LookupEnv: os.LookupEnv}})
		if code != cli.ExitOK || errs.Len() > 0 {
			t.Fatalf("athd %s: %d\n%s", command, code, &errs)
		}
		w.learn(t)
		if got, want := w.plain(out.String()), guidePlain(want); got != want {
			t.Errorf("athd %s prints\n%s\nand the guide says\n%s", command, got, want)
		}
	}
	// Both athd have let go by themselves, and nobody has to register again.
	for _, at := range w.athd {
		await(t, func() bool { return strings.Count(said(t, "http://"+at.Admin+"/metrics"), "athd_keyset_info{") == 1 })
		if status := said(t, "http://"+at.Admin+"/readyz"); !strings.Contains(status, `"status": "ready"`) {
			t.Error(status)
		}
	}
}

// A guideWorld is two athd on one store, with what the guide's numbers count.
type guideWorld struct {
	athd []*running
	ids  map[string]string // of the guide's keys: the real ones
}

func newGuideWorld(t *testing.T) *guideWorld {
	t.Helper()
	dir, server := t.TempDir(), miniredis.RunT(t)
	t.Chdir(dir)
	keys, err := tokenstore.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	data, err := keys.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	text := configtest.YAML(map[string]string{
		"listen": "{grpc: '127.0.0.1:0', http: '127.0.0.1:0', admin: '127.0.0.1:0'}", "drain_delay": "0s",
		"store": fmt.Sprintf("{url: 'redis://%s/0', keyset_file: keyset.json, timeout: 5s}", server.Addr()),
	})
	for name, data := range map[string]string{"keyset.json": string(data), "athd.yaml": text, "providers.json": configtest.ProvidersJSON} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := &guideWorld{ids: map[string]string{"1096734212": fmt.Sprint(keys.Primary())}}
	for range 2 {
		s, faults := config.Load("athd.yaml", config.Sources{Env: os.LookupEnv, ReadFile: config.ReadFile})
		if faults != nil {
			t.Fatal(faults)
		}
		w.athd = append(w.athd, startSettings(t, s))
	}
	for _, at := range w.athd { // the canary is written when somebody asks
		await(t, func() bool { return strings.Contains(said(t, "http://"+at.Admin+"/readyz"), `"status": "ready"`) })
	}
	store, err := tokenstore.Open(tokenstore.Config{URL: "redis://" + server.Addr() + "/0", Keyset: keys})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for _, name := range []string{"one", "two"} {
		if err := createAgent(t, store, name); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// learn takes the id of the new key from the file, when it is there.
func (w *guideWorld) learn(t *testing.T) {
	t.Helper()
	keys, _, err := config.ReadKeyset("keyset.json", config.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	if all := keys.Keys(); len(all) == 2 {
		w.ids["2847329105"] = fmt.Sprint(all[1].ID)
	}
}

// plain is a text with the guide's ids in place of the real ones.
func (w *guideWorld) plain(text string) string {
	for name, id := range w.ids {
		text = strings.ReplaceAll(text, id, name)
	}
	return guidePlain(text)
}

// guidePlain leaves out what differs between two machines, and how columns are aligned.
func guidePlain(text string) string {
	for _, one := range []struct{ like, as string }{
		{`(?m)^[\w.-]+/[A-Z0-9]{6} +\S+`, "REPLICA VERSION"}, {`\d+s ago`, "AGO"}, {` +`, " "}, {` +\n`, "\n"},
	} {
		text = regexp.MustCompile(one.like).ReplaceAllString(text, one.as)
	}
	return strings.TrimSpace(text)
}

// said is the body of an answer, whatever its status.
func said(t *testing.T, url string) string {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		return err.Error()
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// await polls for a condition.
func await(t *testing.T, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !met(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not come to that")
		}
	}
}
