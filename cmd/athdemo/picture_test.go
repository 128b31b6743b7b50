package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

const pictureFile = "../../docs/screenshots/demo.svg"

// README shows the steps as the demo prints them. ATHD_UPDATE_SCREENSHOTS=1
// draws them again.
func comparePicture(t *testing.T, steps []string) {
	t.Helper()
	want := picture(t, steps)
	if os.Getenv("ATHD_UPDATE_SCREENSHOTS") == "1" {
		if err := os.WriteFile(pictureFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(pictureFile); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s shows other steps than the demo prints (%v): ATHD_UPDATE_SCREENSHOTS=1 draws them again", pictureFile, err)
	}
}

// step is a line such as "7. Revoke: the agent … (GET /api/products 401 TOKEN_REVOKED) ✓".
var step = regexp.MustCompile(`^(\d+)\. ([^:]+): (.+) \((.+ (\d{3})(?: \w+)?)\) ✓$`)

// picture draws the steps as SVG, one row each: what happens, and the last
// request of the step with its answer, refusals in red.
func picture(t *testing.T, steps []string) []byte {
	t.Helper()
	const width, head, row = 960, 14, 54
	height := head*2 + row*len(steps)
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img" font-family="system-ui, sans-serif">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" rx="10" fill="#fbfbfd" stroke="#d5d8e0"/>`+"\n", width, height)
	for i, line := range steps {
		m := step.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("the demo prints a step of another form: %q", line)
		}
		number, title, what, call, status := m[1], m[2], m[3], m[4], m[5]
		y, colour := head+row*i, "#1a7f4b"
		if status[0] != '2' {
			colour = "#b3261e"
		}
		if i > 0 {
			fmt.Fprintf(&b, `<path d="M31 %d v%d" stroke="#b9bfd0" stroke-width="2"/>`+"\n", y-15, row-26)
		}
		fmt.Fprintf(&b, `<circle cx="31" cy="%d" r="13" fill="#2f4b8f"/>`+"\n", y+26)
		fmt.Fprintf(&b, `<text x="31" y="%d" font-size="13" fill="#fff" text-anchor="middle">%s</text>`+"\n", y+31, number)
		fmt.Fprintf(&b, `<text x="58" y="%d" font-size="15" font-weight="600" fill="#1d2233">%s</text>`+"\n", y+23, escaped(title))
		fmt.Fprintf(&b, `<text x="58" y="%d" font-size="13" fill="#4a5168">%s</text>`+"\n", y+41, escaped(what))
		fmt.Fprintf(&b, `<text x="%d" y="%d" font-size="12" font-family="ui-monospace, monospace" fill="%s" text-anchor="end">%s</text>`+"\n", width-18, y+23, colour, escaped(call))
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func escaped(text string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(text)) // into memory: no error
	return b.String()
}
