// Package schema has the JSON Schemas of athd.yaml and providers.json, for
// editors. They are generated from the structs that package config loads and
// from the tables of docs/configuration.md and docs/providers.md.
//
// They are draft-07, the newest that the language servers of editors read as a
// whole. A schema refuses nothing that athd takes; what it cannot know (is the
// file there? does the key fit?) `athd validate` finds.
package schema

import (
	_ "embed"
	"regexp"
)

//go:generate go test .. -run ^TestSchemasAreGenerated$ -update

var (
	//go:embed athd.schema.json
	config []byte
	//go:embed providers.schema.json
	providers []byte
)

// Config returns the schema of athd.yaml.
func Config() []byte { return config }

// Providers returns the schema of providers.json.
func Providers() []byte { return providers }

// repository is where the files of a version are.
const repository = "https://raw.githubusercontent.com/athd/athd/"

// release is how the tags of releases are written.
var release = regexp.MustCompile(`^v?(\d+\.\d+\.\d+(-(alpha|beta|rc)\.?\d+)?)$`)

// URL returns where the schema of athd.yaml of a version is, for the comment
// line by which editors find it:
//
//	# yaml-language-server: $schema=URL
//
// What is no release (devel, a pseudo-version, a snapshot) has that of the main
// branch.
func URL(version string) string { return at(version, "athd") }

// ProvidersURL is [URL] for providers.json.
func ProvidersURL(version string) string { return at(version, "providers") }

func at(version, file string) string {
	ref := "main"
	if m := release.FindStringSubmatch(version); m != nil {
		ref = "v" + m[1]
	}
	return repository + ref + "/config/schema/" + file + ".schema.json"
}
