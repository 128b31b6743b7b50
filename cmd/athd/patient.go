package main

import (
	"bytes"
	"io"
	"sync/atomic"
	"time"
)

const (
	// logPatience is how long whoever logs waits for the line to be written.
	logPatience = 100 * time.Millisecond
	// maxLogLines is how many lines wait for a writer that does not return.
	maxLogLines = 1024
)

// A patient writer gives lines to a writer that may never return, such as a
// pipe that nobody reads, and waits for it only for a while: nothing that
// athd does may hang on its own log. Lines that are too many then are lost.
type patient struct {
	w     io.Writer
	lines chan patientLine
	stuck atomic.Bool
	lost  atomic.Int64
	// tell says how many lines were lost. It may log.
	tell func(lost int64)
}

type patientLine struct {
	text []byte
	done chan struct{}
}

func newPatient(w io.Writer) *patient {
	p := &patient{w: w, lines: make(chan patientLine, maxLogLines), tell: func(int64) {}}
	go p.run()
	return p
}

func (p *patient) run() {
	for line := range p.lines {
		// A log that cannot be written has nobody to tell.
		_, _ = p.w.Write(line.text)
		close(line.done)
		p.stuck.Store(false)
		if len(p.lines) == 0 {
			if n := p.lost.Swap(0); n > 0 {
				go p.tell(n)
			}
		}
	}
}

// Write returns when the line is written, or, if that takes long, before.
func (p *patient) Write(text []byte) (int, error) {
	line := patientLine{bytes.Clone(text), make(chan struct{})}
	select {
	case p.lines <- line:
	default:
		p.lost.Add(1)
		return len(text), nil
	}
	if p.stuck.Load() {
		return len(text), nil
	}
	t := time.NewTimer(logPatience)
	defer t.Stop()
	select {
	case <-line.done:
	case <-t.C:
		p.stuck.Store(true)
	}
	return len(text), nil
}
