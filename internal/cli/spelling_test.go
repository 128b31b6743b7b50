package cli_test

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/athd/athd/internal/cli"
)

// parsed is what a command made of its arguments.
type parsed struct {
	config, output, call string
	check, verbose       bool
	wait                 time.Duration
	scopes               []string
	plain                []string
}

// list is a flag that may be given several times, for both packages.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }
func (l *list) Type() string   { return "list" }
func (l *list) Set(s string) error {
	if s == "" {
		return errors.New("empty")
	}
	*l = append(*l, s)
	return nil
}

// before parses as athctl did until the command lines were written with two
// dashes: by the package flag, with flags before and behind plain arguments.
func before(args []string) (p parsed, err error) {
	f := flag.NewFlagSet("prog c", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&p.config, "config", "athd.yaml", "")
	f.StringVar(&p.output, "o", "text", "")
	f.StringVar(&p.call, "call", "", "")
	f.BoolVar(&p.check, "check", false, "")
	f.BoolVar(&p.verbose, "v", false, "")
	f.DurationVar(&p.wait, "for", 0, "")
	f.Var((*list)(&p.scopes), "scope", "")
	for rest := args; ; {
		if err := f.Parse(rest); err != nil {
			return p, err
		}
		if rest = f.Args(); len(rest) == 0 {
			return p, nil
		}
		p.plain, rest = append(p.plain, rest[0]), rest[1:]
	}
}

// now parses as the programs do, and returns what they said too.
func now(t *testing.T, args []string) (p parsed, code int, stdout, stderr string) {
	t.Helper()
	ran := 0
	code, stdout, stderr = run(t, func(cli.Terminal) *cobra.Command {
		root := &cobra.Command{Use: "prog"}
		c := &cobra.Command{Use: "c [ARGUMENT]...", Short: "does it", Aliases: []string{"see"}}
		c.Flags().StringVar(&p.config, "config", "athd.yaml", "")
		c.Flags().StringVarP(&p.output, "output", "o", "text", "")
		c.Flags().StringVar(&p.call, "call", "", "")
		c.Flags().BoolVar(&p.check, "check", false, "")
		c.Flags().BoolVarP(&p.verbose, "verbose", "v", false, "")
		c.Flags().DurationVar(&p.wait, "for", 0, "")
		c.Flags().Var((*list)(&p.scopes), "scope", "")
		cli.Obsolete(c, "static")
		c.RunE = func(_ *cobra.Command, plain []string) error {
			p.plain, ran = plain, ran+1
			return nil
		}
		root.AddCommand(c)
		return root
	}, args...)
	if (ran == 1) != (code == cli.ExitOK) {
		t.Errorf("%q: exit code %d, and it ran %d times", args, code, ran)
	}
	return p, code, stdout, stderr
}

func (p parsed) equal(q parsed) bool {
	return fmt.Sprintf("%+q", p.texts()) == fmt.Sprintf("%+q", q.texts())
}

func (p parsed) texts() []string {
	all := []string{p.config, p.output, p.call, fmt.Sprint(p.check, p.verbose, p.wait, len(p.scopes))}
	return append(append(all, p.scopes...), p.plain...)
}

// A command line of before means what it meant; one line says what is written
// otherwise now.
func TestOldSpellingsGoOnWithAWarning(t *testing.T) {
	for _, tt := range []struct {
		args  []string
		want  parsed
		warns string // "": nothing
	}{
		{[]string{"c", "--config", "x"}, parsed{config: "x"}, ""},
		{[]string{"c", "-o", "json", "-v"}, parsed{output: "json", verbose: true}, ""},
		{[]string{"c", "-vo", "json"}, parsed{output: "json", verbose: true}, ""},
		{[]string{"c", "-ojson"}, parsed{output: "json"}, ""},
		{[]string{"c", "-o="}, parsed{output: "empty"}, ""},
		{[]string{"c", "-config", "x"}, parsed{config: "x"}, "-config is now --config"},
		{[]string{"c", "-config=x=y"}, parsed{config: "x=y"}, "-config is now --config"},
		{[]string{"c", "-config="}, parsed{config: "empty"}, "-config is now --config"},
		{[]string{"c", "-check"}, parsed{check: true}, "-check is now --check"},
		{[]string{"c", "-check=false"}, parsed{}, "-check is now --check"},
		{[]string{"c", "-check", "false"}, parsed{check: true, plain: []string{"false"}}, "-check is now --check"},
		{[]string{"c", "-scope", "a", "-scope", "b", "-scope=c"}, parsed{scopes: []string{"a", "b", "c"}}, "-scope is now --scope"},
		{[]string{"c", "GET", "-for", "5s", "/x", "-v=false"}, parsed{wait: 5 * time.Second, plain: []string{"GET", "/x"}}, "-for is now --for"},
		{[]string{"c", "--o", "json"}, parsed{output: "json"}, "--o is now --output"},
		{[]string{"c", "-output", "json"}, parsed{output: "json"}, "-output is now --output"},
		{[]string{"c", "-call", "-check"}, parsed{call: "-check"}, "-call is now --call"},
		{[]string{"c", "--call", "-check"}, parsed{call: "-check"}, ""},
		{[]string{"c", "-o", "-check"}, parsed{output: "-check"}, ""},
		{[]string{"c", "-vo", "-check"}, parsed{output: "-check", verbose: true}, ""},
		{[]string{"c", "-check", "--", "-config", "x"}, parsed{check: true, plain: []string{"-config", "x"}}, "-check is now --check"},
		{[]string{"c", "-"}, parsed{plain: []string{"-"}}, ""},
		{[]string{"c", "-config", "x", "-check", "-config", "y"}, parsed{config: "y", check: true}, "-config is now --config, -check is now --check"},
		{[]string{"c", "-static"}, parsed{}, "-static has no effect"},
		{[]string{"c", "--static=false", "-check"}, parsed{check: true}, "--static has no effect, -check is now --check"},
		{[]string{"see", "-check"}, parsed{check: true}, `"prog see" is now "prog c", -check is now --check`},
		{[]string{"see", "c"}, parsed{plain: []string{"c"}}, `"prog see" is now "prog c"`},
	} {
		if tt.want.config == "" {
			tt.want.config = "athd.yaml"
		}
		if tt.want.output == "" {
			tt.want.output = "text"
		}
		tt.want.config, tt.want.output = strings.TrimPrefix(tt.want.config, "empty"), strings.TrimPrefix(tt.want.output, "empty")
		warning := ""
		if tt.warns != "" {
			warning = "prog: warning: " + tt.warns + "; the old spelling will be removed\n"
		}
		p, code, stdout, stderr := now(t, tt.args)
		if code != cli.ExitOK || !p.equal(tt.want) || stdout != "" || stderr != warning {
			t.Errorf("%q: exit code %d\n%q\n%q\n%s", tt.args, code, p.texts(), tt.want.texts(), stderr)
		}
	}
	if code, stdout, stderr := run(t, newProgram(nothing), "run", "-help"); code != cli.ExitOK || !strings.Contains(stdout, "usage:") || stderr != "prog: warning: -help is now --help; the old spelling will be removed\n" {
		t.Errorf("-help: exit code %d\n%s%s", code, stdout, stderr)
	}
}

// FuzzOldCommandLinesMeanTheSame: what the package flag understood is
// understood alike. It understood nothing behind a double dash alone, which
// ended the flags until the next plain argument only.
func FuzzOldCommandLinesMeanTheSame(f *testing.F) {
	for _, line := range []string{
		"-config\nx", "-config=x\n-check", "a\n-scope\n-x\nb\n-scope=y", "-o\njson\n-v", "--o=json\n--v", "-for\n5s\n-check=false\n-", "-check\nfalse\n-call\n-o",
		"-o=\n-config=\n-scope\nc", "-v=0\n-v=T", "\n-config\n", "-scope\n\n-x", "-call=-config\n-config=--", "-vo\nx", "--config\n--output\n-check",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "\n")
		if slices.Contains(args, "--") {
			return
		}
		want, err := before(args)
		if err != nil {
			return // new spellings are allowed, and what was wrong may be right today
		}
		got, code, stdout, stderr := now(t, append([]string{"c"}, args...))
		if code != cli.ExitOK || !got.equal(want) || stdout != "" || strings.Count(stderr, "\n") > 1 {
			t.Errorf("%q: exit code %d\nbefore %q\nnow    %q\n%s", args, code, want.texts(), got.texts(), stderr)
		}
	})
}
