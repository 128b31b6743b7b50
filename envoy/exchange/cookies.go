package exchange

import (
	"strings"

	"github.com/athd/athd/ath"
)

// foreignCookies returns the Cookie header without what athd has set, and
// whether there was any of it: if not, the header stays as it came. Envoy may
// have joined several headers by commas (RFC 9110, section 5.3, which RFC 6265
// advises against); ours hold none, so that they can be told apart there too.
// What no reply can carry is left out of a header that has to be rewritten.
func foreignCookies(headers []string) (cookie string, ours bool) {
	var keep []string
	for _, header := range headers {
		for pair := range strings.SplitSeq(header, ";") {
			var parts []string
			for part := range strings.SplitSeq(pair, ",") {
				name, _, _ := strings.Cut(part, "=")
				if ath.IsOurCookie(strings.TrimSpace(name)) {
					ours = true
					continue
				}
				parts = append(parts, part)
			}
			if rest := strings.Trim(strings.Join(parts, ","), " \t"); rest != "" && ath.IsPrintable(rest) {
				keep = append(keep, rest)
			}
		}
	}
	return strings.Join(keep, "; "), ours
}
