package bootstrap

import "testing"

// What Envoy sheds load at leaves room for the streams that it is told to keep.
func TestEnvoysHeapGrowsWithTheStreamsThatAreWatched(t *testing.T) {
	for _, c := range []struct {
		config Config
		want   uint64
	}{
		{Config{}, 512 << 20},
		{Config{MaxStreams: 8000}, 512 << 20},
		{Config{WatchesStreams: true, MaxStreams: 8000}, 512<<20 + 8000*48<<10},
		{Config{WatchesStreams: true, MaxStreams: -1}, 512 << 20},
	} {
		if got := (&generator{config: c.config}).heapBytes(); got != c.want {
			t.Errorf("%v, %d: %d bytes, want %d", c.config.WatchesStreams, c.config.MaxStreams, got, c.want)
		}
	}
}
