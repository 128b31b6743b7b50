package audit

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"time"
)

const (
	// patience is how long anybody waits for a line to be written. A disk that
	// has nothing wrong with it takes far less, and Envoy waits a second for a
	// decision.
	patience = 250 * time.Millisecond
	// retryEvery is how often lines are tried again that could not be written.
	retryEvery = time.Second
	// maxSpare bounds the buffer that is kept when everything is written.
	maxSpare = 2 << 20
)

var errStuck = errors.New("the writer does not return")

// An outlet is one writer and the lines that wait for it. They are written in
// the order in which they were added, by a goroutine that lives while there
// are any: so a writer that never returns, such as a pipe that nobody reads or
// a disk that hangs, keeps nobody waiting for longer than patience. Lines
// that could not be written stay, and are tried again.
type outlet struct {
	w    io.Writer
	form form
	// tried is called after each Write, and may be slow.
	tried func()

	mu      sync.Mutex
	event   Event // the one being added
	waiting lines
	writing lines // being written, or to be written again: before those that wait
	spare   []byte
	torn    bool      // the writer took a part of a line
	running bool      // the goroutine lives
	began   time.Time // of the Write in flight
	timed   bool      // a run will come
	failed  error     // of the last Write
	fails   uint64    // Writes that failed, ever
	added   uint64    // lines, ever
	written uint64
	changed chan struct{} // closed when something above did; nil: nobody waits for that
}

type lines struct {
	text []byte // whole lines
	n    int
}

// add appends an event and returns its number; or 0, where most bytes wait
// already. With late it will be written after that time.
func (o *outlet) add(most int, late time.Duration, now time.Time, e *Event) uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.waiting.text)+len(o.writing.text) >= most {
		return 0
	}
	o.event = *e // what the getters are given goes to the heap: one for all
	o.waiting.text = o.form.line(o.waiting.text, now, &o.event)
	o.waiting.n++
	o.added++
	if late > 0 {
		o.runAfter(late)
	}
	return o.added
}

// runAfter starts a run after d, unless one will come anyway. mu is held.
func (o *outlet) runAfter(d time.Duration) {
	if o.timed {
		return
	}
	o.timed = true
	time.AfterFunc(d, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.timed = false
		o.start()
	})
}

// start writes what there is, unless that is being done. mu is held.
func (o *outlet) start() {
	if !o.running && o.waiting.n+o.writing.n > 0 {
		o.running = true
		go o.run()
	}
}

func (o *outlet) run() {
	for again := true; again; {
		again = o.once()
		o.tried()
	}
}

// once writes the lines that come next, and reports whether there are more
// that should be written now.
func (o *outlet) once() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.writing.n == 0 {
		o.writing, o.waiting, o.spare = o.waiting, lines{text: o.spare[:0]}, nil
	}
	text, torn := o.writing.text, o.torn
	o.began = time.Now()
	o.mu.Unlock()
	n, torn, err := put(o.w, text, torn)
	o.mu.Lock()
	o.began, o.failed, o.torn = time.Time{}, err, torn
	o.took(n)
	if err != nil {
		o.fails++
		o.runAfter(retryEvery)
	}
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
	o.running = err == nil && o.waiting.n > 0
	return o.running
}

// put writes text, whole lines, and says how many bytes of it are in whole
// lines that the writer has. Behind a line that it has a part of, text begins
// on a new one.
func put(w io.Writer, text []byte, torn bool) (n int, stillTorn bool, err error) {
	if torn {
		if _, err := w.Write([]byte{'\n'}); err != nil {
			return 0, true, err
		}
	}
	n, err = w.Write(text)
	if err == nil && n < len(text) {
		err = io.ErrShortWrite
	}
	if err == nil {
		return len(text), false, nil
	}
	n = max(0, min(n, len(text)))
	whole := bytes.LastIndexByte(text[:n], '\n') + 1
	return whole, whole < n, err
}

// took removes what was written from writing. mu is held.
func (o *outlet) took(n int) {
	done := o.writing.n
	if n < len(o.writing.text) {
		done = bytes.Count(o.writing.text[:n], []byte{'\n'})
	} else if cap(o.writing.text) <= maxSpare {
		o.spare = o.writing.text
	}
	o.written += uint64(done)
	if o.writing.n -= done; o.writing.n > 0 {
		o.writing.text = o.writing.text[n:]
	} else {
		o.writing.text = nil
	}
}

// await waits until the line of this number is written. Where the last try
// failed it waits for another only if it is eager, and where the writer does
// not return, not at all.
func (o *outlet) await(number uint64, eager bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failed != nil && !eager {
		o.runAfter(retryEvery)
		return o.failed
	}
	o.start()
	fails := o.fails
	var over <-chan time.Time
	for o.written < number {
		if o.fails != fails {
			return o.failed
		}
		if o.stuck() {
			return errStuck
		}
		if over == nil {
			t := time.NewTimer(patience)
			defer t.Stop()
			over = t.C
		}
		if o.changed == nil {
			o.changed = make(chan struct{})
		}
		changed := o.changed
		o.mu.Unlock()
		timeout := false
		select {
		case <-changed:
		case <-over:
			timeout = true
		}
		o.mu.Lock()
		if timeout && o.written < number {
			return errStuck
		}
	}
	return nil
}

// settle tries what could not be written yet, and returns nil if nothing is
// left of it. Lines that nobody has tried do not matter.
func (o *outlet) settle() error {
	o.mu.Lock()
	troubled, last := o.failed != nil || o.stuck(), o.added-uint64(o.waiting.n)
	o.mu.Unlock()
	if !troubled {
		return nil
	}
	return o.await(last, true)
}

// withdraw takes a line back that was not written, if it is the last one and
// nobody is writing it. It reports false where it was written after all.
func (o *outlet) withdraw(number uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.written >= number {
		return false
	}
	if o.running || o.added != number {
		return true
	}
	from := &o.waiting
	if from.n == 0 {
		from = &o.writing
	}
	from.text = from.text[:bytes.LastIndexByte(from.text[:len(from.text)-1], '\n')+1]
	from.n--
	o.added--
	return true
}

// stuck reports whether a Write takes longer than anybody waits. mu is held.
func (o *outlet) stuck() bool {
	return !o.began.IsZero() && time.Since(o.began) >= patience
}

// trouble is why lines are not written, nil if they are, and how many wait for
// that.
func (o *outlet) trouble() (waiting int, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	err = o.failed
	if o.stuck() {
		err = errStuck
	}
	if err == nil {
		return 0, nil
	}
	return o.waiting.n + o.writing.n, err
}

// end writes everything, for as long as that may take at the end of a process,
// and returns how many lines are lost.
func (o *outlet) end(within time.Duration) int {
	for end := time.Now().Add(within); ; {
		o.mu.Lock()
		last, left := o.added, o.waiting.n+o.writing.n
		o.mu.Unlock()
		if left == 0 {
			return 0
		}
		if err := o.await(last, true); err != nil && !time.Now().Add(patience).Before(end) {
			return left
		} else if err != nil {
			time.Sleep(patience / 5)
		}
	}
}
