package schema_test

import (
	"testing"

	"github.com/athd/athd/config/schema"
)

func TestEditorsReadTheSchemaOfTheirRelease(t *testing.T) {
	const main = "https://raw.githubusercontent.com/athd/athd/main/config/schema/athd.schema.json"
	for version, want := range map[string]string{
		"v0.1.0":                               "https://raw.githubusercontent.com/athd/athd/v0.1.0/config/schema/athd.schema.json",
		"0.1.0":                                "https://raw.githubusercontent.com/athd/athd/v0.1.0/config/schema/athd.schema.json",
		"v1.2.3-rc.1":                          "https://raw.githubusercontent.com/athd/athd/v1.2.3-rc.1/config/schema/athd.schema.json",
		"":                                     main,
		"devel":                                main,
		"v0.0.0-20261128233900-3adac1d0aaaa":   main,
		"v0.1.1-0.20261128233900-3adac1d0aaaa": main,
		"0.1.1-SNAPSHOT-3adac1d":               main,
		"v0.1.0+dirty":                         main,
		"v0.1.0/../../../evil/athd/main/x#":    main,
		"v0.1.0\n# yaml-language-server: $schema": main,
	} {
		if got := schema.URL(version); got != want {
			t.Errorf("URL(%q) = %s, want %s", version, got, want)
		}
	}
	if got, want := schema.ProvidersURL("v0.1.0"), "https://raw.githubusercontent.com/athd/athd/v0.1.0/config/schema/providers.schema.json"; got != want {
		t.Errorf("ProvidersURL = %s, want %s", got, want)
	}
}
