package ath

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

const (
	day         = 24 * time.Hour
	maxDuration = 3650 * day
)

// ParseDuration reads a duration of Go's spelling that may start with whole
// days: 90d, 1d12h, 10m. It is more than 0 and at most ten years.
func ParseDuration(s string) (time.Duration, error) {
	wrong := errors.New("want a duration such as 90d, 12h or 10m")
	var total time.Duration
	rest := s
	if days, after, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, wrong
		}
		total, rest = time.Duration(n)*day, after
		if rest != "" && (rest[0] < '0' || rest[0] > '9') {
			return 0, wrong // 1d-1h
		}
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 || d > maxDuration {
			return 0, wrong
		}
		total += d
	}
	switch {
	case total <= 0:
		return 0, wrong
	case total > maxDuration:
		return 0, errors.New("want a duration of at most 3650d")
	}
	return total, nil
}

// FormatDuration writes whole seconds as [ParseDuration] reads them, in the largest
// units: 90d, 1d12h, 10m. Less than a second is 0s.
func FormatDuration(d time.Duration) string {
	d = max(0, d).Truncate(time.Second)
	var b strings.Builder
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{day, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if n := int64(d / unit.of); n > 0 {
			b.WriteString(strconv.FormatInt(n, 10) + unit.name)
			d %= unit.of
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}
