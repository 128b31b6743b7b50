// Package ratelimit counts how often something happens, each key by a token
// bucket of its own, in bounded memory. It is for one process: replicas count for
// themselves.
package ratelimit
