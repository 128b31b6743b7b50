package envoy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/athd/athd/internal/process"
	"github.com/athd/athd/internal/ready"
)

const (
	// DrainTimeout is how long calls under way may take to end.
	DrainTimeout    = 5 * time.Second
	validateTimeout = 20 * time.Second
	maxStatsBytes   = 1 << 20
)

// Validate has Envoy read its configuration without starting. The error is
// what Envoy says against it.
func Validate(ctx context.Context, program, config string) error {
	ctx, cancel := context.WithTimeout(ctx, validateTimeout)
	defer cancel()
	out, err := process.Command(ctx, program, "--mode", "validate", "-c", config, "--log-level", "error").CombinedOutput()
	if ctx.Err() != nil {
		return fmt.Errorf("%s --mode validate did not end in time: %w", program, ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("Envoy does not take %s (%w): %s", config, err, Cause(string(out)))
	}
	return nil
}

// Start runs Envoy in this program's process group, so that Ctrl-C is for both.
// It gets the environment, but for the variables whose names secrets are.
func Start(program, config, log string, secrets []string) (*process.Process, error) {
	return process.Start(process.Config{
		Name: "Envoy", Program: program, Args: []string{"-c", config, "--disable-hot-restart", "--log-level", "warning"}, Log: log, Without: secrets,
	})
}

// logPrefix is the form of Envoy's log: time, process, level, place.
var logPrefix = regexp.MustCompile(`^(\[[^\]]*\] ?)+`)

// Cause finds in what Envoy wrote why it ended: its last words stand without the
// form of its log, and repeat an error of it.
func Cause(log string) string {
	const most = 2000
	var words, faults []string
	for line := range strings.Lines(log) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "configuration '") || strings.HasPrefix(line, "{"): // its access log is JSON
		case !strings.HasPrefix(line, "["):
			words = append(words, line)
		case strings.Contains(line, "][critical]") || strings.Contains(line, "][error]"):
			faults = append(faults, line)
		}
	}
	said := words
	if len(said) == 0 {
		said = faults
	}
	if len(said) == 0 {
		return "it does not say why"
	}
	text := logPrefix.ReplaceAllString(said[len(said)-1], "")
	if len(text) > most {
		text = text[:most] + "…"
	}
	return text
}

// ErrTaken says that another program listens at an address.
var ErrTaken = errors.New("another program listens there already")

// FreeToListen reports why Envoy could not listen at an address, host:port.
// Envoy itself would share the port with another Envoy, without a word.
func FreeToListen(ctx context.Context, address string) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return ErrTaken
	}
	if err != nil {
		return err
	}
	return l.Close()
}

// Stop ends Envoy: it listens no more, calls under way may end, and then it is
// told to end, and made to. admin is where its admin pages are, host:port, or
// "": then it is told at once. It reports whether no call was cut off: of an Envoy
// that has ended by itself, as Ctrl-C makes it, that is not known.
func Stop(ctx context.Context, p *process.Process, admin string) (drained bool, err error) {
	select {
	case <-p.Done():
		return false, nil
	default:
	}
	if admin != "" {
		drained = drain(ctx, p, admin)
	}
	return drained, p.Stop()
}

// drain returns when no call is under way, or when that takes too long, and says
// which. An Envoy that cannot be asked is not waited for.
func drain(ctx context.Context, p *process.Process, admin string) (idle bool) {
	ctx, cancel := context.WithTimeout(ctx, DrainTimeout)
	defer cancel()
	if _, err := ask(ctx, http.MethodPost, "http://"+admin+"/drain_listeners"); err != nil {
		return false
	}
	gone := errors.New("it cannot be asked")
	// The end of ctx is the end of patience, and nobody is told.
	_, _ = ready.Wait(ctx, func(ctx context.Context) (string, error) {
		select {
		case <-p.Done():
			return "", nil
		default:
		}
		active, err := ask(ctx, http.MethodGet, "http://"+admin+"/stats?filter=downstream_rq_active$")
		if err != nil {
			return "", gone
		}
		if n := callsUnderWay(active); n > 0 {
			return strconv.Itoa(n) + " calls", nil
		}
		idle = true
		return "", nil
	}, func(string) {})
	return idle
}

// callsUnderWay sums up the requests that listeners but the admin one answer.
func callsUnderWay(stats string) int {
	sum := 0
	for line := range strings.Lines(stats) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if n, err := strconv.Atoi(value); err == nil && strings.HasPrefix(name, "http.") && !strings.HasPrefix(name, "http.admin.") {
			sum += n
		}
	}
	return sum
}

func ask(ctx context.Context, method, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return "", err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", errors.New(resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxStatsBytes))
	return string(body), err
}

// LastWords are why an Envoy that was started ended.
func LastWords(p *process.Process) string {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	return Cause(string(text))
}
