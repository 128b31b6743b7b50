package ratelimit

import (
	"math"
	"strconv"
	"time"

	"golang.org/x/time/rate"
)

// A Rate is so many in a time: all of them may come at once, and then they
// come back evenly. The zero Rate is none.
type Rate struct {
	N   int
	Per time.Duration
}

// Unlimited is the Rate that refuses nothing.
var Unlimited = Rate{N: math.MaxInt, Per: time.Nanosecond}

// String writes a rate as configurations do.
func (r Rate) String() string {
	if r == Unlimited {
		return "off"
	}
	unit := map[time.Duration]string{time.Second: "s", time.Minute: "m", time.Hour: "h"}[r.Per]
	if unit == "" {
		unit = r.Per.String()
	}
	return strconv.Itoa(r.N) + "/" + unit
}

func (r Rate) perSecond() rate.Limit { return rate.Limit(float64(r.N) / r.Per.Seconds()) }
