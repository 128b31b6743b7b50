package main

import (
	"io"
	"strings"
	"unicode"
)

// A printableWriter keeps what a server says from steering the terminal, as
// printable does, over many lines: line ends and tabs go through.
type printableWriter struct{ w io.Writer }

func (p printableWriter) Write(text []byte) (int, error) {
	_, err := io.WriteString(p.w, strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return '?'
	}, string(text)))
	return len(text), err
}
