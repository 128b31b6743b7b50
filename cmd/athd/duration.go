package main

import (
	"time"

	"github.com/athd/athd/ath"
)

const day = 24 * time.Hour

func parseDuration(s string) (time.Duration, error) { return ath.ParseDuration(s) }
