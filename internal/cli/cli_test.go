package cli

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func newTerminal(out *strings.Builder) Terminal {
	return Terminal{Stdout: out, Stderr: out, Env: func(string) string { return "" }, Stdin: strings.NewReader("")}
}

func TestExitCodeFollowsFromTheError(t *testing.T) {
	for _, tt := range []struct {
		err     error
		code    int
		printed string
	}{
		{nil, ExitOK, ""},
		{flag.ErrHelp, ExitOK, ""},
		{ErrUsage, ExitUsage, ""},
		{ErrFound, ExitFault, ""},
		{fmt.Errorf("and: %w", ErrFound), ExitFault, ""},
		{errors.New("no\nnext: do"), ExitFault, "athctl: no\nnext: do\n"},
	} {
		var out strings.Builder
		if code := Exit(newTerminal(&out), tt.err); code != tt.code || out.String() != tt.printed {
			t.Errorf("%v: exit code %d, printed %q", tt.err, code, &out)
		}
	}
}

func TestFlagsStandBeforeAndBehindArguments(t *testing.T) {
	var out strings.Builder
	c := NewCommand("athctl x", newTerminal(&out))
	c.FormatFlag()
	n := c.Int("n", 0, "")
	plain, err := c.ParseArgs([]string{"a", "-n", "3", "b", "-o", "json"})
	if err != nil || !slices.Equal(plain, []string{"a", "b"}) || *n != 3 || *c.Format != "json" || !c.Given("n") || c.Given("x") {
		t.Errorf("%q %d %q %v", plain, *n, *c.Format, err)
	}
	for _, args := range [][]string{{"-o", "yaml"}, {"-nosuch"}, {"-n", "x"}} {
		c := NewCommand("athctl x", newTerminal(&out))
		c.FormatFlag()
		c.Int("n", 0, "")
		out.Reset()
		if _, err := c.ParseArgs(args); !errors.Is(err, ErrUsage) || out.Len() == 0 {
			t.Errorf("%q: %v, printed %q", args, err, &out)
		}
	}
}

// What agents and servers say must not steer a terminal.
func TestPrintableTakesWhatSteers(t *testing.T) {
	const hostile = "a\x1b[2J\r\u202eb\x00\xff\tü"
	if got := Printable(hostile, 100); got != "a?[2J??b???ü" {
		t.Errorf("Printable = %q", got)
	}
	if got := Printable("abcdef", 3); got != "abc…" {
		t.Errorf("cut to %q", got)
	}
	var out strings.Builder
	n, err := PrintableWriter{&out}.Write([]byte("a\x1b[2J\tb\nc"))
	if err != nil || n != 9 || out.String() != "a?[2J\tb\nc" {
		t.Errorf("wrote %d, %v: %q", n, err, &out)
	}
}

func TestSecretsGoWithoutTLSOnlyWhereThatIsSaid(t *testing.T) {
	if _, err := ServerBase("http://gw.example", false, "the admin token"); err == nil || !strings.Contains(err.Error(), "the admin token would be readable on its way") || !strings.Contains(err.Error(), "-allow-http") {
		t.Errorf("err = %v", err)
	}
	if base, err := ServerBase("http://gw.example/", true, "x"); err != nil || base != "http://gw.example" {
		t.Errorf("%q %v", base, err)
	}
}
