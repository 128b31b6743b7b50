package authz

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/canary"
)

// MaxHeld is how long the text of a [Held] may be, in bytes: an agent id of 2048,
// and the rest.
const MaxHeld = 3 << 10

// heldVersion begins the text. Another member, or another meaning of one, is
// another version.
const heldVersion = "1"

// What the parts of the text are at most: bytes, and Unix time in milliseconds.
const (
	maxHeldAgent    = 2048
	maxHeldProvider = 128
	maxHeldUntil    = 1 << 53
)

// heldFields is how many parts the text has.
const heldFields = 12

// errHeld does not repeat the text: who wrote it is not known.
var errHeld = errors.New("not what athd writes of a call that it allowed")

// Text writes h in one line of visible ASCII and single spaces:
//
//	1 <tag> <grant> <renewal|-> <agent> <provider> <runtime|-> <scope> <rules> <until, Unix ms> <credential> <mark|->
//
// Digests are in base64url, and so is the number of the rules, its eight bytes in big
// endian. "" means that there is nothing to write: h is zero, or a
// member does not go into it, so that whoever reads it refuses.
func (h Held) Text() string {
	if !h.isWritable() {
		return ""
	}
	var buffer [512]byte
	text := append(buffer[:0], heldVersion...)
	word := func(w string) { text = append(append(text, ' '), w...) }
	digest := func(d []byte) { text = base64.RawURLEncoding.AppendEncode(append(text, ' '), d) }
	word(string(h.Tag))
	digest(h.Grant[:])
	if h.Renewal.IsZero() {
		word("-")
	} else {
		digest(h.Renewal[:])
	}
	word(h.Agent)
	word(h.Provider)
	if h.Runtime {
		word("runtime")
	} else {
		word("-")
	}
	word(h.Scope)
	var rules [8]byte
	binary.BigEndian.PutUint64(rules[:], h.Rules)
	digest(rules[:])
	text = strconv.AppendInt(append(text, ' '), h.Until.UnixMilli(), 10)
	digest(h.Credential[:])
	text = h.Mark.Append(append(text, ' '))
	if len(text) > MaxHeld {
		return ""
	}
	return string(text)
}

// isWritable reports whether [ParseHeld] would read every member as it is.
func (h *Held) isWritable() bool {
	for _, word := range [...]string{string(h.Tag), h.Agent, h.Provider, h.Scope} {
		if word == "" || !ath.IsVisible(word) {
			return false
		}
	}
	until := h.Until.UnixMilli()
	_, tag := ath.ParseTag(string(h.Tag))
	_, scope := ath.ParseScopes([]string{h.Scope})
	return tag == nil && scope == nil && len(h.Agent) <= maxHeldAgent && len(h.Provider) <= maxHeldProvider &&
		!h.Grant.IsZero() && h.Rules != 0 && until > 0 && until < maxHeldUntil && (h.Mark == canary.Mark{} || h.Mark.Length >= canary.MinLength)
}

// ParseHeld reads what [Held.Text] wrote, and nothing else: there is one text of
// each Held.
func ParseHeld(text string) (Held, error) {
	if len(text) > MaxHeld {
		return Held{}, errHeld
	}
	parts := strings.Split(text, " ")
	if len(parts) != heldFields || parts[0] != heldVersion {
		return Held{}, errHeld
	}
	for _, part := range parts {
		if part == "" || !ath.IsVisible(part) {
			return Held{}, errHeld
		}
	}
	tag, err := ath.ParseTag(parts[1])
	if err != nil {
		return Held{}, errHeld
	}
	h := Held{Tag: tag, Agent: parts[4], Provider: parts[5], Runtime: parts[6] == "runtime", Scope: parts[7]}
	until, err := strconv.ParseInt(parts[9], 10, 64)
	if err != nil || until <= 0 || until >= maxHeldUntil || strconv.FormatInt(until, 10) != parts[9] {
		return Held{}, errHeld
	}
	h.Until = time.UnixMilli(until)
	_, scope := ath.ParseScopes(parts[7:8])
	var rules [8]byte
	var mark error
	h.Mark, mark = canary.ParseMark(parts[11])
	switch {
	case mark != nil:
		return Held{}, errHeld
	case !h.Runtime && parts[6] != "-", scope != nil, len(h.Agent) > maxHeldAgent, len(h.Provider) > maxHeldProvider,
		!decodeAll(h.Grant[:], parts[2]), parts[3] != "-" && !decodeAll(h.Renewal[:], parts[3]),
		!decodeAll(rules[:], parts[8]), !decodeAll(h.Credential[:], parts[10]),
		h.Grant.IsZero(), parts[3] != "-" && h.Renewal.IsZero():
		return Held{}, errHeld
	}
	if h.Rules = binary.BigEndian.Uint64(rules[:]); h.Rules == 0 {
		return Held{}, errHeld
	}
	return h, nil
}

// decodeAll fills to with base64url of exactly its length, in the one way to write it.
func decodeAll(to []byte, text string) bool {
	if len(text) != base64.RawURLEncoding.EncodedLen(len(to)) {
		return false
	}
	n, err := base64.RawURLEncoding.Strict().Decode(to, []byte(text))
	return err == nil && n == len(to)
}
