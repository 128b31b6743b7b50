package probe

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

const maxMetricsBytes = 8 << 20

// A Sample is one line of /metrics.
type Sample struct {
	Name   string
	Labels map[string]string
	Value  float64
}

var label = regexp.MustCompile(`([a-z_]+)="((?:[^"\\]|\\.)*)"`)

// Metrics returns what /metrics says on an admin listener of the metrics whose
// names begin with one of these: network is tcp or unix.
func Metrics(ctx context.Context, network, at string, prefixes ...string) ([]Sample, error) {
	resp, err := get(ctx, network, at, "/metrics")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("/metrics at %s answers %d", at, resp.StatusCode)
	}
	var all []Sample
	lines := bufio.NewScanner(io.LimitReader(resp.Body, maxMetricsBytes))
	for lines.Scan() {
		for _, prefix := range prefixes {
			if s, ok := sampleOf(lines.Text()); ok && strings.HasPrefix(s.Name, prefix) {
				all = append(all, s)
				break
			}
		}
	}
	return all, lines.Err()
}

// sampleOf reads a line of the text format, without a time.
func sampleOf(line string) (Sample, bool) {
	end := strings.LastIndexByte(line, ' ')
	if end < 0 || strings.HasPrefix(line, "#") {
		return Sample{}, false
	}
	value, err := strconv.ParseFloat(line[end+1:], 64)
	if err != nil {
		return Sample{}, false
	}
	s := Sample{Value: value, Labels: map[string]string{}}
	var labels string
	s.Name, labels, _ = strings.Cut(line[:end], "{")
	for _, m := range label.FindAllStringSubmatch(labels, -1) {
		s.Labels[m[1]] = m[2]
	}
	return s, true
}
