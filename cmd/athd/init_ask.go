package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/athd/athd/config/starter"
	"github.com/athd/athd/internal/cli"
)

// ask asks for what the flags do not say, where a person is there to answer.
func (b *beginning) ask(t terminal) error {
	if b.Preset != "" || b.issuer != "" && b.Upstream != "" || !isTerminal(t.Stdin) || !isTerminal(t.Stderr) {
		return nil
	}
	return b.questions(bufio.NewReader(io.LimitReader(t.Stdin, 64<<10)), t.Stderr)
}

// questions are asked in turn; an empty answer leaves things as they are, and the
// end of the input (Ctrl-D) all that is not asked yet.
func (b *beginning) questions(in *bufio.Reader, out io.Writer) (err error) {
	if b.issuer == "" && b.Upstream == "" {
		b.Preset, err = question(in, out, "An API of your own, or a known service ("+strings.Join(starter.Presets(), ", ")+")? Its name, or nothing for your own: ")
		ended := errors.Is(err, io.EOF)
		if err != nil && !ended {
			return err
		}
		b.Preset = strings.ToLower(b.Preset)
		if known := starter.Presets(); b.Preset != "" && !slices.Contains(known, b.Preset) {
			return fmt.Errorf("there is no known service %q: there are %s\nnext: for another one, begin with docs/guides/any-provider.md", cli.Printable(b.Preset, 60), strings.Join(known, ", "))
		}
		if ended {
			return nil
		}
	}
	for _, q := range []struct {
		to   *string
		text string
		own  bool // for an API of one's own
	}{
		{&b.issuer, "Your OAuth server, its issuer URL (such as https://login.example.com): ", true},
		{&b.Upstream, "Your API's URL (such as http://127.0.0.1:3000): ", true},
		{&b.ClientID, "athd's client id there (or nothing, and the environment says it): ", false},
	} {
		if *q.to != "" || q.own && b.Preset != "" {
			continue
		}
		if *q.to, err = question(in, out, q.text); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

// question returns io.EOF with the last answer, where the input ends behind it.
func question(in *bufio.Reader, out io.Writer, text string) (string, error) {
	fmt.Fprint(out, text)
	line, err := in.ReadString('\n')
	if err != nil {
		fmt.Fprintln(out)
	}
	return strings.TrimSpace(line), err
}

// isTerminal reports whether a person is at the other end.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	nobody, err := os.Stat(os.DevNull) // a device of characters, too
	return err != nil || !os.SameFile(info, nobody)
}
