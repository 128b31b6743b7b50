package provider

import (
	"strconv"
	"strings"
	"unicode"
)

// Text of other parties gets into logs, events and answers only through these
// functions: bounded, printable (against log injection), and without anything that looks
// like a secret.

const maxSaidBytes = 256

// Said bounds a text that another party sent, such as an error_description
// (RFC 6749, section 4.1.2.1).
func Said(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == unicode.ReplacementChar || !unicode.IsPrint(r):
			return -1 // control, format and private characters
		}
		return r
	}, text)
	if strings.Contains(text, "ath_") || strings.Contains(text, "eyJ") {
		return "[withheld: it looks like a token]"
	}
	if len(text) <= maxSaidBytes {
		return strings.TrimSpace(text)
	}
	cut := maxSaidBytes
	for cut > 0 && text[cut]&0xC0 == 0x80 { // the middle of a character
		cut--
	}
	return strings.TrimSpace(text[:cut]) + "…"
}

// SaidCode bounds an error code that another party sent: "" if there is none,
// "malformed" if it does not have the form of one.
func SaidCode(code string) string {
	switch {
	case code == "":
		return ""
	case !validCode(code) || Said(code) != code:
		return "malformed"
	}
	return code
}

// Quoted is a text of another party between quotes, on one line.
func Quoted(text string) string { return strconv.Quote(Said(text)) }
