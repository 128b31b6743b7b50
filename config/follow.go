package config

import (
	"context"
	"io/fs"
	"os"
	"time"
)

const (
	// lookEvery is how often the names of files are looked at.
	lookEvery = time.Second
	// readEvery is how often files are read though nothing seems to have changed: a
	// file system may not say so.
	readEvery = 30 * time.Second
	// settled is how old a change must be before the time of it tells it from the
	// next one: file systems count time in steps.
	settled = 2 * time.Second
)

// A Follower looks after files that may change while athd runs. It is the one way
// in which athd follows files: what they hold, and what becomes of that, is for who
// reads them.
type Follower struct {
	// Files returns the files to look after, by now. Links are followed: a mounted
	// directory is exchanged by one link.
	Files func() []string
	// Read is called first of all, and then whenever a file may have changed, or a
	// while has passed. asked: an operator wants it now, and has written the files.
	// It returns whether it wants to be called again at the next look, as for a file
	// that may be half written.
	Read func(ctx context.Context, asked bool) (again bool)

	Hangup <-chan os.Signal // SIGHUP; nil: nobody asks

	Every time.Duration                          // between two looks; 0: a second
	Least time.Duration                          // between two calls of Read; 0: 30 seconds
	Stat  func(name string) (fs.FileInfo, error) // nil: os.Stat
}

// Run follows until ctx ends.
func (f *Follower) Run(ctx context.Context) {
	every, least, stat := f.Every, f.Least, f.Stat
	if every == 0 {
		every = lookEvery
	}
	if least == 0 {
		least = readEvery
	}
	if stat == nil {
		stat = os.Stat
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	var seen map[string]fs.FileInfo
	var read time.Time
	for again, asked := true, false; ; {
		now := time.Now()
		if looked, changed := f.look(seen, now, stat); changed || again || asked || now.Sub(read) >= least {
			// What is there by now was looked at before it is read, so that a change
			// in between is seen at the next look.
			again, read = f.Read(ctx, asked), now
			seen = looked
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			asked = false
		case <-f.Hangup:
			asked = true
		}
	}
}

// look returns what there is, and whether that is something else than what was
// seen, as far as this can be told without reading it.
func (f *Follower) look(seen map[string]fs.FileInfo, now time.Time, stat func(string) (fs.FileInfo, error)) (is map[string]fs.FileInfo, changed bool) {
	is = map[string]fs.FileInfo{}
	for _, name := range f.Files() {
		info, err := stat(name)
		if err != nil {
			info = nil
		}
		was, known := seen[name]
		is[name] = info
		switch {
		case !known, (was == nil) != (info == nil):
			changed = true
		case info == nil:
		case !os.SameFile(was, info), was.Size() != info.Size(), was.Mode() != info.Mode(), !was.ModTime().Equal(info.ModTime()):
			changed = true
		case now.Sub(info.ModTime()).Abs() < settled:
			changed = true
		}
	}
	return is, changed || len(is) != len(seen)
}
