// Package streams has exchanges that take long, of every kind: an API that serves
// them, and clients that say when and how each of them ended. Start at [Kinds].
package streams
