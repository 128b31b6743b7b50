package ath

import (
	"math"
	"strings"
	"unicode"
)

// Parameters of Punycode (RFC 3492, section 5).
const (
	punyBase, punyMin, punyMax = 36, 1, 26
	punySkew, punyDamp         = 38, 700
	punyBias, punyFirst        = 72, 128
)

// decodeLabel decodes what stands behind xn-- in an A-label that is in lower
// case. Not ok: it is not the one spelling of a label that needs it, or decodes
// to what no name may hold: anything but lower-case letters, marks, digits and
// hyphens, or a letter that is another one in compatibility form. It knows no
// tables of IDNA: what it lets pass may still be a name that no registry takes.
// Homographs pass: pages warn of them.
func decodeLabel(code string) (label string, ok bool) {
	decoded, ok := decodePunycode(code)
	if !ok {
		return "", false
	}
	foreign := false
	for _, r := range decoded {
		foreign = foreign || r >= punyFirst
		switch {
		case r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z':
		case r < punyFirst || r != unicode.ToLower(r) || compatible(r):
			return "", false
		case !unicode.In(r, unicode.Ll, unicode.Lo, unicode.Lm, unicode.Mn, unicode.Mc, unicode.Nd) && !strings.ContainsRune(contextual, r):
			return "", false
		}
	}
	if !foreign || unicode.In(decoded[0], unicode.M) || encodePunycode(decoded) != code {
		return "", false
	}
	return string(decoded), true
}

// contextual are the characters that IDNA allows among others only (RFC 5892,
// appendix A) and that are neither letter nor digit. The joiners are not among
// them: they cannot be seen.
const contextual = "\u00b7\u0375\u05f3\u05f4\u30fb"

// compatible reports whether r stands in a block of forms of other characters.
func compatible(r rune) bool {
	return 0xfb00 <= r && r <= 0xfdff || 0xfe70 <= r && r <= 0xfeff || 0xff00 <= r && r <= 0xffef || // presentation, width
		0x1d400 <= r && r <= 0x1d7ff || 0x2100 <= r && r <= 0x214f || // mathematical, letterlike
		0x2070 <= r && r <= 0x209f || 0x2460 <= r && r <= 0x24ff || // raised, circled
		0xf900 <= r && r <= 0xfaff || 0x2f800 <= r && r <= 0x2fa1f // CJK
}

func decodePunycode(code string) ([]rune, bool) {
	var out []rune
	rest := code
	if i := strings.LastIndexByte(code, '-'); i > 0 {
		out, rest = []rune(code[:i]), code[i+1:]
	}
	if rest == "" || len(code) > maxLabelBytes {
		return nil, false
	}
	n, bias, i := punyFirst, punyBias, 0
	for rest != "" {
		before, w := i, 1
		for k := punyBase; ; k += punyBase {
			if rest == "" {
				return nil, false
			}
			digit, ok := punyDigit(rest[0])
			if rest = rest[1:]; !ok || digit > (math.MaxInt32-i)/w {
				return nil, false
			}
			i += digit * w
			t := min(max(k-bias, punyMin), punyMax)
			if digit < t {
				break
			}
			if w > math.MaxInt32/(punyBase-t) {
				return nil, false
			}
			w *= punyBase - t
		}
		size := len(out) + 1
		bias = adapt(i-before, size, before == 0)
		n, i = n+i/size, i%size
		if n > unicode.MaxRune || 0xd800 <= n && n <= 0xdfff {
			return nil, false
		}
		out = append(out, 0)
		copy(out[i+1:], out[i:])
		out[i] = rune(n)
		i++
	}
	return out, true
}

func encodePunycode(label []rune) string {
	var out []byte
	for _, r := range label {
		if r < punyFirst {
			out = append(out, byte(r))
		}
	}
	done := len(out)
	basic := done
	if basic > 0 {
		out = append(out, '-')
	}
	n, delta, bias := rune(punyFirst), 0, punyBias
	for done < len(label) {
		next := rune(unicode.MaxRune + 1)
		for _, r := range label {
			if r >= n {
				next = min(next, r)
			}
		}
		delta += int(next-n) * (done + 1)
		n = next
		for _, r := range label {
			if r < n {
				delta++
			}
			if r != n {
				continue
			}
			q := delta
			for k := punyBase; ; k += punyBase {
				t := min(max(k-bias, punyMin), punyMax)
				if q < t {
					break
				}
				out = append(out, punyDigits[t+(q-t)%(punyBase-t)])
				q = (q - t) / (punyBase - t)
			}
			out = append(out, punyDigits[q])
			bias = adapt(delta, done+1, done == basic)
			delta = 0
			done++
		}
		delta++
		n++
	}
	return string(out)
}

const punyDigits = "abcdefghijklmnopqrstuvwxyz0123456789"

func punyDigit(c byte) (int, bool) {
	i := strings.IndexByte(punyDigits, c)
	return i, i >= 0
}

func adapt(delta, size int, first bool) int {
	if first {
		delta /= punyDamp
	} else {
		delta /= 2
	}
	delta += delta / size
	k := 0
	for ; delta > (punyBase-punyMin)*punyMax/2; k += punyBase {
		delta /= punyBase - punyMin
	}
	return k + (punyBase-punyMin+1)*delta/(delta+punySkew)
}
