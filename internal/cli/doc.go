// Package cli has what athctl's commands share: what a command may read and
// write, its flags, its output, and how it ends.
package cli
