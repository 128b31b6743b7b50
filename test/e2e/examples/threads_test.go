package examples

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// saves is a Python program whose threads keep what they were given, at once: each
// token adds a member to what is being written.
const saves = `
import ath, json, sys, threading

sys.setswitchinterval(1e-6)
identity = ath.Identity("state.json", "https://agent.example/agent.json")
failed, start = [], threading.Barrier(8)

def save(name):
    start.wait()
    try:
        for n in range(60):
            identity.kept.setdefault("tokens", {}).setdefault(name, {})["n"] = n
            identity.kept["clients"][f"{name} {n}"] = n
            identity.save()
            json.loads(identity.path.read_text())
    except Exception as error:
        failed.append(repr(error))

threads = [threading.Thread(target=save, args=(str(n),)) for n in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
kept = json.loads(identity.path.read_text())["tokens"]
assert not failed, failed
assert kept == {str(n): {"n": 59} for n in range(8)}, kept
`

// late is a Python program whose threads find a token about to end, at a server that
// gives none: it answers when all of them wait.
const late = `
import ath, threading, time

wait, tries, passed = threading.Condition(), [], []

class Counted:
    lock, here = threading.Lock(), 0
    def __enter__(self):
        with wait:
            Counted.here += 1
            wait.notify_all()
        self.lock.acquire()
    def __exit__(self, *_):
        self.lock.release()

class Late:
    base, identity = "https://gw.example", ath.Identity("late.json", "https://agent.example/agent.json")
    def renew(self, token):
        tries.append(token)
        with wait:
            assert wait.wait_for(lambda: Counted.here == 8, 20)
        raise TimeoutError
    def call(self, token, method, url):
        passed.append(token)

access = ath.Access(Late(), "gateway", "gallery", "https://gw.example/ath/proxy/gallery")
access.keep({"access_token": "ath_tk_1", "effective_scopes": [], "expires_in": 20, "refresh_token": "ath_rt_1"})
access.renewing = Counted()
threads = [threading.Thread(target=access.call, args=("GET", "/")) for n in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert passed == ["ath_tk_1"] * 8, passed
assert len(tries) == 1, f"{len(tries)} tries"
`

func TestThreadsOfThePythonAgentSaveAtOnce(t *testing.T) { threads(t, saves, "state.json") }

// A server that gives no new token is asked once by all threads together, and not
// by one after the other.
func TestThreadsOfThePythonAgentWaitOnceForARenewal(t *testing.T) { threads(t, late, "late.json") }

func threads(t *testing.T, program, state string) {
	t.Helper()
	python, dir := client(t, "clients-python"), folder(t, "python")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	run := exec.CommandContext(ctx, python, "-c", program)
	run.Dir = dir
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if info, err := os.Stat(filepath.Join(dir, state)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others can read the file: %v, %v", info, err)
	}
}
