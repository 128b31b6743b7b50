package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

const (
	defaultAuditSize = 100 << 20
	leastAuditSize   = 64 << 10 // the longest event is far shorter
	defaultAuditKeep = 10
	maxAuditKeep     = 1000
)

// audit reads where events of their own go.
func (l *loader) audit() {
	c, s := &l.c.Audit, &l.s.Audit
	s.Requests, s.MaxSize = c.Requests, defaultAuditSize
	s.Keep = l.count(c.Keep, defaultAuditKeep, 1, "audit", "keep")
	if s.Keep > maxAuditKeep {
		l.Fail("want 1000 at most", "audit", "keep")
	}
	if c.MaxSize != "" {
		n, err := parseSize(c.MaxSize)
		switch {
		case err != nil:
			l.Fail(err.Error(), "audit", "max_size")
		case n < leastAuditSize:
			l.Fail("want 64KiB at least", "audit", "max_size")
		}
		s.MaxSize = n
	}
	switch {
	case c.File != "":
		if strings.HasSuffix(c.File, "/") {
			l.Fail("is a directory", "audit", "file")
		}
		s.File = l.resolve(c.File)
	case s.Requests || s.MaxSize != defaultAuditSize || s.Keep != defaultAuditKeep:
		l.Fail("is missing: without it events go to the log, and there is nothing to choose", "audit", "file")
	}
}

// parseSize reads a number of bytes such as 100MiB.
func parseSize(s string) (int64, error) {
	bad := errors.New("want a number of KiB, MiB or GiB, such as 100MiB")
	number, shift := s, 0
	for unit, by := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30} {
		if n, ok := strings.CutSuffix(s, unit); ok {
			number, shift = n, by
		}
	}
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || shift == 0 || number[0] == '+' || n > math.MaxInt64>>shift {
		return 0, bad
	}
	return int64(n) << shift, nil
}
