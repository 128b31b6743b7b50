package cli

import (
	"io"
	"strings"
	"unicode"
)

// A PrintableWriter keeps what a server says from steering the terminal, as
// [Printable] does, over many lines: line ends and tabs go through.
type PrintableWriter struct{ W io.Writer }

// Write writes the text with other characters as '?'.
func (p PrintableWriter) Write(text []byte) (int, error) {
	_, err := io.WriteString(p.W, strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return '?'
	}, string(text)))
	return len(text), err
}

// Printable keeps what agents and servers say from steering a terminal:
// control characters, and those that turn or hide text, become '?'. It cuts after most characters.
func Printable(s string, most int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > most {
			b.WriteString("…")
			break
		}
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// ShellWord makes one word of a command to be pasted into a shell of what others
// say: nothing in it is read as more than text. It cuts after most characters.
func ShellWord(s string, most int) string {
	s = Printable(s, most)
	plain := s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@%+=,", r)
	})
	if plain {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Scopes are those of a provider, as PROVIDER/SCOPE.
func Scopes(provider string, scopes []string) string {
	out := make([]string, len(scopes))
	for i, s := range scopes {
		out[i] = provider + "/" + Printable(s, 128)
	}
	return strings.Join(out, " ")
}
