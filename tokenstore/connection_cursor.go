package tokenstore

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/athd/athd/ath"
)

// A connectionCursor is an entry of an index: what comes after it is on the next
// page. The zero one is before everything.
type connectionCursor struct {
	stage  string // which indexes
	index  string // its key; "": before the first
	over   bool   // behind the index
	score  int64
	member string
}

const (
	stageOwn = ""  // those of one agent or user
	stageAll = "a" // those of all agents
)

// before is a key behind which the index comes.
func (c *connectionCursor) before() string {
	if c.index == "" || c.over {
		return c.index
	}
	return c.index[:len(c.index)-1]
}

// String is for whoever asks for the next page. It holds nothing that the page
// does not show, but tags.
func (c *connectionCursor) String() string {
	text := fmt.Sprintf("%s.%s.%d.%s", c.stage, tagOf(c.index), c.score, c.member)
	if strings.HasSuffix(c.index, ":"+string(userConnsKind)) {
		text += ".u"
	}
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

func parseCursor(text string) (connectionCursor, error) {
	if text == "" {
		return connectionCursor{}, nil
	}
	if len(text) > 200 {
		return connectionCursor{}, ErrCursor
	}
	plain, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return connectionCursor{}, ErrCursor
	}
	parts := strings.Split(string(plain), ".")
	of := connectionsKind
	if len(parts) == 5 && parts[4] == "u" {
		of, parts = userConnsKind, parts[:4]
	}
	if len(parts) != 4 || parts[0] != stageOwn && parts[0] != stageAll {
		return connectionCursor{}, ErrCursor
	}
	c := connectionCursor{stage: parts[0], member: parts[3]}
	if c.index, err = key(ath.Tag(parts[1]), string(of)); err != nil {
		return connectionCursor{}, ErrCursor
	}
	if c.score, err = strconv.ParseInt(parts[2], 10, 64); err != nil {
		return connectionCursor{}, ErrCursor
	}
	return c, nil
}
