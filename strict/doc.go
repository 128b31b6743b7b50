// Package strict reads files that people write, YAML and JSON, into Go
// structs and tells every fault at once, each with its line and column:
// unknown keys, wrong types, keys given twice. Start with [YAML] or [JSON].
//
// Both return a [Document], which remembers where everything stood, so that
// the checks that follow (is this a URL? does that scope exist?) report their
// faults in the same form: [Document.Fault]. [Document.Expand] replaces
// ${NAME} in values by what the environment says.
//
// No fault ever holds the value of a field: it may be a secret. Names of keys
// are shown.
package strict
