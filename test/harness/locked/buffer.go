// Package locked has a buffer that programs and goroutines of a test write to
// while the test reads it.
package locked

import (
	"bytes"
	"sync"
)

// A Buffer is a [bytes.Buffer] that is safe for concurrent use. The zero Buffer is
// empty.
type Buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write never fails.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String is all that was written.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
