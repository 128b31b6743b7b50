package pages

import (
	"bytes"
	"context"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/athd/athd/test/harness/stage"
)

const (
	screenshots = "../../../docs/screenshots"
	maxPNG      = 100 << 10 // bytes; they live in the repository
)

// Every page fits desktop and phone, light and dark, and docs/screenshots has
// a picture of each. ATHD_UPDATE_SCREENSHOTS=1 takes them again.
func screenshotsOfEveryPage(t *testing.T, s *stage.Stage) {
	a := newAgent(t, s)
	a.Name, a.Developer.Name = "Shopping Assistant", "Example Developers Ltd"
	a.Purpose = "Finds what you are looking for and puts it into your cart."
	b := newBrowser(t)

	l := a.authorize(stage.App, "products:read", "cart:write")
	b.open(l.url)
	b.await(allowHere)
	b.pictures(t, "consent")
	b.click(allowHere)
	b.await(password)
	b.finish()
	b.pictures(t, "completion")
	b.open(l.url)
	b.refused("STATE_MISMATCH")
	b.pictures(t, "error")
	b.open(a.authorize(stage.App, "products:read").url)
	b.click(denyHere)
	b.await("#denied")
	b.pictures(t, "denied")
}

// steady puts into the page what a reader of the documentation can make sense
// of, in place of what is another one in every run.
const steady = `(() => {
	for (const [id, text] of Object.entries({
		"domain": "shopper.example", "agent-id": "https://shopper.example/agent.json",
		"code": "ath_code_4vKqk1mEXAMPLEvT2y8Zr0aQxw7Lh3JcNf5Bd6S9gU", "decision": "dec_EXAMPLE7QW2M4K9",
	})) { const e = document.getElementById(id); if (e) e.textContent = text }
	return true
})()`

func (b *tab) pictures(t *testing.T, name string) {
	t.Helper()
	evaluate[bool](b, steady)
	for device, size := range map[string][2]int64{"desktop": {880, 720}, "phone": {390, 780}} {
		for _, scheme := range []string{"light", "dark"} {
			b.resize(size[0], size[1], scheme)
			b.fits(int(size[0]))
			path := filepath.Join(screenshots, fmt.Sprintf("%s-%s-%s.png", name, device, scheme))
			taken := b.picture()
			picture, err := png.DecodeConfig(bytes.NewReader(taken))
			if err != nil || picture.Width != int(size[0]) || len(taken) > maxPNG {
				t.Errorf("%s is %d pixels wide and has %d bytes, %v", path, picture.Width, len(taken), err)
			}
			if os.Getenv("ATHD_UPDATE_SCREENSHOTS") == "1" {
				if err := os.MkdirAll(screenshots, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, taken, 0o644); err != nil {
					t.Fatal(err)
				}
			} else if _, err := os.Stat(path); err != nil {
				t.Errorf("%v: take it with ATHD_UPDATE_SCREENSHOTS=1", err)
			}
		}
	}
}

func (b *tab) picture() []byte {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	taken, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Fatal(err)
	}
	return taken
}
