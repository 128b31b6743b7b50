package main

import (
	"fmt"
	"strings"

	"github.com/athd/athd/provider"
)

// summary counts providers and apps for people.
func summary(set *provider.Set) string {
	var providers, apps []string
	for _, p := range set.All() {
		if p.App != nil {
			apps = append(apps, p.ID)
		} else {
			providers = append(providers, p.ID)
		}
	}
	return counted(providers, "provider") + ", " + counted(apps, "app")
}

func counted(ids []string, noun string) string {
	text := fmt.Sprintf("%d %s", len(ids), noun)
	if len(ids) != 1 {
		text += "s"
	}
	if len(ids) > 0 {
		text += " (" + strings.Join(ids, ", ") + ")"
	}
	return text
}
