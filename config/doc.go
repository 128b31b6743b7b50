// Package config reads athd.yaml and everything that it refers to.
//
// [Load] returns [Settings], or every fault of every file, each with its file
// and line; never both. Reading is strict: an unknown key, a missing file, a
// bad URL or a file that others can write is a fault, and nothing is started
// with half a configuration. What is allowed but should be known is a warning.
// docs/configuration.md describes each key; a test holds the two together.
//
// A message never holds a value: it may be a secret in the wrong place.
package config
