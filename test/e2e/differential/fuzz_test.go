package differential

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// FuzzDifferential sends what the fuzzer makes to every front over both
// protocols. Its seeds are testdata/fuzz/FuzzDifferential, where tools/fuzz
// adds each input that makes Envoy or athd do something not seen before, since
// coverage cannot see into Envoy.
// proves: P-5, P-7
func FuzzDifferential(f *testing.F) {
	novel := newNovelty()
	for i := range pieces {
		piece := string([]byte{0x80 | byte(i)})
		novel.seed(f, fmt.Sprintf("%c\x08\x00a%sb\n%c\x08\x00%s\n%c\x08\x00a/%s/b", i%len(doors), piece, (i+3)%len(doors), piece, (i+5)%len(doors), piece))
	}
	for i := range headerSets {
		set, verb := i+2*len(headerSets), i%len(verbs)+2*len(verbs) // beyond the newline, which would end the record
		novel.seed(f, fmt.Sprintf("%c%c%ca\n%c\x08%cb", i%len(doors), verb, set, (i+1)%len(doors), set))
	}
	w := &world{}
	if !coordinates() {
		w = newWorld(f)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tries := w.generate(data)
		for _, try := range tries {
			for _, front := range w.fronts {
				for protocol, name := range []string{"HTTP/1.1", "HTTP/2"} {
					o := w.send(front, protocol, try)
					for _, fault := range w.differences(front, o) {
						t.Errorf("%s over %s, %s %q to %s: %s", front.name, name, try.method, try.target, try.door.host, fault)
					}
					novel.see(signature(front.name, name, try, o), data)
				}
			}
		}
		novel.count(len(tries) * len(w.fronts) * 2)
	})
}

// coordinates reports whether this process only hands out work to others,
// and needs no Envoy of its own.
func coordinates() bool {
	set := func(name string) bool {
		f := flag.Lookup(name)
		return f != nil && f.Value.String() != "" && f.Value.String() != "false"
	}
	return set("test.fuzz") && !set("test.fuzzworker")
}

// signature names what happened: where, what for, and what became of it.
func signature(front, protocol string, t try, o outcome) string {
	reason := "unasked"
	if len(o.judged) > 0 {
		reason = string(o.judged[0].decision.Reason())
	}
	class := "plain"
	for _, p := range pieces {
		if len(p) > 1 && strings.Contains(t.target[min(len(t.target), len(t.door.prefix)):], p) {
			class = p
		}
	}
	return fmt.Sprintf("%s %s %s %s %d %d %q", front, protocol, o.status, reason, len(o.arrived), len(o.companion), class)
}

// A novelty keeps inputs that did something new, and counts. Workers are
// processes; they share what they know in the folder that ATHD_FUZZ_SEEN names.
// Without it nothing is kept.
type novelty struct {
	shared string
	corpus string
	mu     sync.Mutex
	seeds  map[string]bool // are kept already
	seen   map[string]bool
	sent   int
}

// maxCorpus bounds what is committed: make test runs all of it.
const maxCorpus = 280

func newNovelty() *novelty {
	return &novelty{
		shared: os.Getenv("ATHD_FUZZ_SEEN"), corpus: filepath.Join("testdata", "fuzz", "FuzzDifferential"),
		seeds: map[string]bool{}, seen: map[string]bool{},
	}
}

func (n *novelty) seed(f *testing.F, data string) {
	n.seeds[data] = true
	f.Add([]byte(data))
}

// see keeps the input if nobody has seen this signature.
func (n *novelty) see(signature string, data []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.shared == "" || n.seen[signature] {
		return
	}
	n.seen[signature] = true
	sum := sha256.Sum256([]byte(signature))
	mark, err := os.OpenFile(filepath.Join(n.shared, hex.EncodeToString(sum[:12])), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return // another worker was first
	}
	mark.Close()
	if n.seeds[string(data)] {
		return
	}
	text := fmt.Sprintf("go test fuzz v1\n[]byte(%q)\n", data)
	sum = sha256.Sum256([]byte(text))
	path := filepath.Join(n.corpus, hex.EncodeToString(sum[:8]))
	if kept, err := os.ReadDir(n.corpus); err == nil && len(kept) >= maxCorpus {
		return
	}
	os.MkdirAll(n.corpus, 0o755)
	os.WriteFile(path, []byte(text), 0o644)
}

// count adds requests and tells them to whoever started the workers.
func (n *novelty) count(requests int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sent += requests
	if n.shared != "" {
		os.WriteFile(filepath.Join(n.shared, fmt.Sprintf("requests-%d", os.Getpid())), fmt.Append(nil, n.sent), 0o600)
	}
}
