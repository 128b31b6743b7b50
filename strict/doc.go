// Package strict reads files that people write, YAML and JSON, into Go structs and
// reports all faults at once, each with its line and column: unknown keys, wrong
// types, duplicate keys. Start with [YAML] or [JSON].
//
// Both return a [Document], which has the place of each value, so that the checks
// that follow (is this a URL? does that scope exist?) report faults in the same
// form, by a [Checker]. [Document.Expand] replaces ${NAME} in values by environment
// variables.
//
// No fault contains the value of a field: it may be a secret. Names of keys are
// shown.
package strict
