// Package pages looks at athd's pages as a user does: with a real Chromium,
// through a real Envoy. The user is led to an OAuth server on another site, by
// agents who may lie, past links and forms of strangers.
package pages

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/athd/athd/test/harness/stage"
)

func TestMain(m *testing.M) {
	code := m.Run()
	stopChromium()
	stage.RemoveBinary()
	os.Exit(code)
}

// evilHost is where strangers have their pages: another site than athd.
const evilHost = "evil.test"

// consentHost has the consent pages where they stand apart; on twoHosts that
// and athd's own host are of one site.
const (
	consentHost = "consent.localhost"
	twoHosts    = "two-hosts.test"
)

// A chromium is one browser process for all tests. Its context lives until
// the process ends, since the first caller's test must not take it along.
type chromium struct {
	ctx context.Context
	end func()
}

var running struct {
	sync.Mutex
	chromium *chromium
}

// startChromium returns the browser of this process, which it starts for the
// first caller: with a fresh profile, and unable to look up any name but ours.
func startChromium(t testing.TB) context.Context {
	t.Helper()
	binary := chromiumBinary(t)
	running.Lock()
	defer running.Unlock()
	if running.chromium != nil {
		return running.chromium.ctx
	}
	allocator, endAllocator := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(binary), chromedp.NoSandbox, chromedp.Headless, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.Flag("disable-gpu", true),
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-extensions", true),
		chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("ignore-certificate-errors", true), // Envoy's certificate is a test's
		chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("force-color-profile", "srgb"),
		chromedp.Flag("host-resolver-rules", "MAP "+evilHost+" 127.0.0.1, MAP localhost 127.0.0.1, MAP "+consentHost+" 127.0.0.1, MAP *."+twoHosts+" 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
	)
	ctx, cancel := chromedp.NewContext(allocator)
	if err := chromedp.Do(ctx); err != nil {
		endAllocator()
		t.Fatalf("Chromium does not start: %v", err)
	}
	running.chromium = &chromium{ctx: ctx, end: func() { cancel(); endAllocator() }}
	return ctx
}

func stopChromium() {
	running.Lock()
	defer running.Unlock()
	if running.chromium == nil {
		return
	}
	ctx, cancel := context.WithTimeout(running.chromium.ctx, 5*time.Second)
	defer cancel()
	if err := chromedp.Cancel(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "ending Chromium:", err)
	}
	running.chromium.end()
}

// chromiumBinary returns the path of Chromium: $ATHD_TOOLS/chromium,
// .tools/bin/chromium of the checkout, or the one on PATH. Without any the
// test fails, unless ATHD_TEST_SKIP names chromium, which skips it.
func chromiumBinary(t testing.TB) string {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("ATHD_TEST_SKIP"), ","), "chromium") {
		t.Skip("ATHD_TEST_SKIP names chromium")
	}
	candidates := []string{filepath.Join("..", "..", "..", ".tools", "bin", "chromium"), "chromium"}
	if dir := os.Getenv("ATHD_TOOLS"); dir != "" {
		candidates = append([]string{filepath.Join(dir, "chromium")}, candidates...)
	}
	for _, c := range candidates {
		if path, err := exec.LookPath(c); err == nil {
			return path
		}
	}
	t.Fatal("there is no Chromium: run make test, which fetches it, or name chromium in ATHD_TEST_SKIP")
	return ""
}
