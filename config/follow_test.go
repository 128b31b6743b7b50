package config

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// Each way in which a file is written is seen at the next look.
func TestAFollowerSeesEachWayToWrite(t *testing.T) {
	write := func(t *testing.T, name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-time.Hour)
	for name, change := range map[string]func(t *testing.T, dir string){
		"in place": func(t *testing.T, dir string) { write(t, dir+"/data/file", "two") },
		"of the same size and time": func(t *testing.T, dir string) {
			write(t, dir+"/data/new", "two")
			must(t, os.Chtimes(dir+"/data/new", long, long))
			must(t, os.Rename(dir+"/data/new", dir+"/data/file"))
		},
		"by rename": func(t *testing.T, dir string) {
			write(t, dir+"/data/new", "two")
			must(t, os.Rename(dir+"/data/new", dir+"/data/file"))
		},
		"by a link to another directory": func(t *testing.T, dir string) {
			must(t, os.Mkdir(dir+"/data2", 0o700))
			write(t, dir+"/data2/file", "two")
			must(t, os.Chtimes(dir+"/data2/file", long, long))
			must(t, os.Symlink("data2", dir+"/new"))
			must(t, os.Rename(dir+"/new", dir+"/link"))
		},
		"its mode": func(t *testing.T, dir string) { must(t, os.Chmod(dir+"/data/file", 0o644)) },
		"gone":     func(t *testing.T, dir string) { must(t, os.Remove(dir+"/data/file")) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.Mkdir(dir+"/data", 0o700))
			write(t, dir+"/data/file", "one")
			must(t, os.Chtimes(dir+"/data/file", long, long))
			must(t, os.Symlink("data", dir+"/link"))
			file := filepath.Join(dir, "link", "file")
			seen := make(chan struct{}, 100)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			f := &Follower{Every: time.Millisecond, Least: time.Hour, Files: func() []string { return []string{file} },
				Read: func(context.Context, bool) bool { seen <- struct{}{}; return false }}
			go func() { defer close(done); f.Run(ctx) }()
			<-seen
			change(t, dir)
			select {
			case <-seen:
			case <-time.After(5 * time.Second):
				t.Error("nobody saw it")
			}
			cancel()
			<-done
		})
	}
}

func TestAFollowerReadsWhenAskedAgainOrAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangup := make(chan os.Signal)
		type call struct {
			at    time.Duration
			asked bool
		}
		var calls []call
		start := time.Now()
		f := &Follower{Hangup: hangup, Files: func() []string { return []string{"/nowhere/at/all"} }, Read: func(_ context.Context, asked bool) bool {
			calls = append(calls, call{time.Since(start), asked})
			return len(calls) == 2
		}}
		go f.Run(t.Context())
		time.Sleep(500 * time.Millisecond)
		hangup <- syscall.SIGHUP // asks for it again
		time.Sleep(40 * time.Second)
		synctest.Wait()
		want := []call{{0, false}, {500 * time.Millisecond, true}, {time.Second, false}, {31 * time.Second, false}}
		if len(calls) != len(want) {
			t.Fatalf("%v, want %v", calls, want)
		}
		for i := range want {
			if calls[i] != want[i] {
				t.Errorf("%v, want %v", calls, want)
			}
		}
	})
}
