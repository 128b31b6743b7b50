package cli_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/cli/clitest"
)

// newProgram is a program with a command of each kind. What its command does
// is do's to say.
func newProgram(do func(t cli.Terminal, config string, plain []string) error) func(cli.Terminal) *cobra.Command {
	return func(t cli.Terminal) *cobra.Command {
		root := &cobra.Command{Use: "prog", Short: "shows how it is done", Example: "  prog run --config athd.yaml"}
		root.AddGroup(&cobra.Group{ID: "work", Title: "work"}, &cobra.Group{ID: "more", Title: "more"})
		run := &cobra.Command{Use: "run [WHAT]", Short: "do it", GroupID: "work", Example: "  prog run --mode fast -o json 'that thing'"}
		config := cli.ConfigFlag(run)
		mode := "slow"
		cli.Choice(run, &mode, "mode", "how", "slow", "fast")
		cli.FormatFlag(run)
		cli.Obsolete(run, "static")
		run.Flags().String("server", "", "the `URL`")
		run.Flags().String("into", "", "the `folder`")
		run.RunE = func(_ *cobra.Command, plain []string) error { return do(t, *config, plain) }
		list := &cobra.Command{Use: "list", Short: "list what there is", Example: "  prog things list"}
		list.RunE = func(*cobra.Command, []string) error { return nil }
		things := &cobra.Command{Use: "things", Short: "look at things", GroupID: "work", Aliases: []string{"thing"}, Example: "  prog things list"}
		things.AddCommand(list)
		root.AddCommand(run, things)
		return root
	}
}

func nothing(cli.Terminal, string, []string) error { return nil }

// run runs the program and returns what it said.
func run(t *testing.T, newRoot func(cli.Terminal) *cobra.Command, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, wrong strings.Builder
	terminal := clitest.Terminal(&out, &wrong)
	code = cli.Run(t.Context(), newRoot(terminal), args, terminal)
	return code, out.String(), wrong.String()
}

func TestExitCodeFollowsFromTheError(t *testing.T) {
	for _, tt := range []struct {
		err  error
		code int
		says string
	}{
		{nil, cli.ExitOK, ""},
		{cli.ErrFound, cli.ExitFault, ""},
		{fmt.Errorf("and: %w", cli.ErrFound), cli.ExitFault, ""},
		{errors.New("no\nnext: do"), cli.ExitFault, "prog: no\nnext: do\n"},
		{cli.Lines(errors.New("a.yaml:1: no\na.yaml:2: nor this\n")), cli.ExitFault, "a.yaml:1: no\na.yaml:2: nor this\n"},
		{cli.Lines(nil), cli.ExitOK, ""},
		{cli.Wrong("--for: want %d", 1), cli.ExitUsage, "prog run: --for: want 1\nsee prog run --help\n"},
	} {
		code, stdout, stderr := run(t, newProgram(func(cli.Terminal, string, []string) error { return tt.err }), "run")
		if code != tt.code || stderr != tt.says || stdout != "" {
			t.Errorf("%v: exit code %d, %q %q", tt.err, code, stdout, stderr)
		}
		if cli.IsWrong(tt.err) != (tt.code == cli.ExitUsage) {
			t.Errorf("%v: IsWrong is %v", tt.err, cli.IsWrong(tt.err))
		}
	}
}

// What is wrong with a command line is said once, with what was probably meant
// and where more is to be read. Nothing is done then.
func TestWrongUsageNamesWhatWasMeant(t *testing.T) {
	done := func(cli.Terminal, string, []string) error { t.Error("it was done"); return nil }
	for line, says := range map[string]string{
		"runn":                    `prog: no such command: "runn"; did you mean run?` + "\nsee prog --help\n",
		"runn --config x":         `prog: no such command: "runn"; did you mean run?` + "\nsee prog --help\n",
		"frobnicate":              `prog: no such command: "frobnicate"` + "\nsee prog --help\n",
		"things lst":              `prog things: no such command: "lst"; did you mean list?` + "\nsee prog things --help\n",
		"help runn":               `prog help: no such command: "runn"`,
		"run --confg x":           "prog run: no such flag: --confg; did you mean --config?\nsee prog run --help\n",
		"run --confg=x":           "prog run: no such flag: --confg; did you mean --config?\nsee prog run --help\n",
		"run -confg x":            "prog run: no such flag: -confg; did you mean --config?\nsee prog run --help\n",
		"run -confg=x":            "prog run: no such flag: -confg; did you mean --config?\nsee prog run --help\n",
		"run -x":                  "prog run: no such flag: -x\nsee prog run --help\n",
		"run --frobnicate":        "prog run: no such flag: --frobnicate\nsee prog run --help\n",
		"run --stati":             "prog run: no such flag: --stati\nsee prog run --help\n", // which is hidden
		"run --config":            "prog run: --config wants a value\nsee prog run --help\n",
		"run -o":                  "prog run: --output wants a value\nsee prog run --help\n",
		"run -o yaml":             "prog run: --output: want text or json\nsee prog run --help\n",
		"run --mode quick":        "prog run: --mode: want slow or fast\nsee prog run --help\n",
		"run ---config":           "prog run: bad flag syntax: ---config\nsee prog run --help\n",
		"things list x":           `prog things list: unexpected argument "x"` + "\nsee prog things list --help\n",
		"version x":               `prog version: unexpected argument "x"`,
		"completion tcsh":         `prog completion: no such command: "tcsh"`,
		"completion bash nothing": `prog completion bash: `,
	} {
		code, stdout, stderr := run(t, newProgram(done), strings.Fields(line)...)
		if code != cli.ExitUsage || !strings.HasPrefix(stderr, says) || stdout != "" || strings.Count(stderr, "\n") != 2 {
			t.Errorf("%s: exit code %d, %q\n%s", line, code, stdout, stderr)
		}
	}
	for _, line := range []string{"", "things", "completion"} {
		code, stdout, stderr := run(t, newProgram(done), strings.Fields(line)...)
		if code != cli.ExitUsage || stdout != "" || !strings.Contains(stderr, "usage:\n  prog") {
			t.Errorf("%q: exit code %d, %q\n%s", line, code, stdout, stderr)
		}
	}
}

func TestHelpGoesToStandardOutput(t *testing.T) {
	clitest.CheckTree(t, newProgram(nothing))
	for line, wants := range map[string][]string{
		"--help":      {"\nwork:\n  run         do it\n  things      look at things\n\nmore:\n  completion  ", "\n  version     print which prog this is\n", "prog COMMAND --help says more of one."},
		"-h":          {"prog: shows how it is done\n\nusage:\n  prog COMMAND [flags]\n"},
		"help":        {"usage:\n  prog COMMAND [flags]\n"},
		"help run":    {"usage:\n  prog run [WHAT] [flags]\n", "--mode slow|fast", "-o, --output text|json"},
		"run --help":  {"usage:\n  prog run [WHAT] [flags]\n"},
		"run x -h":    {"usage:\n  prog run [WHAT] [flags]\n"},
		"things -h":   {"\ncommands:\n  list  list what there is\n"},
		"help things": {"usage:\n  prog things COMMAND [flags]\n"},
	} {
		code, stdout, stderr := run(t, newProgram(nothing), strings.Fields(line)...)
		for _, want := range wants {
			if code != cli.ExitOK || stderr != "" || !strings.Contains(stdout, want) || strings.Contains(stdout, "static") {
				t.Errorf("%s: exit code %d, want %q\n%s%s", line, code, want, stdout, stderr)
			}
		}
	}
}

func TestVersionIsACommandAndAFlag(t *testing.T) {
	_, command, _ := run(t, newProgram(nothing), "version")
	code, flag, stderr := run(t, newProgram(nothing), "--version")
	if code != cli.ExitOK || stderr != "" || command != flag || !strings.HasPrefix(flag, "prog ") || !strings.Contains(flag, runtime.Version()) {
		t.Errorf("exit code %d\n%s%s%s", code, command, flag, stderr)
	}
	_, text, _ := run(t, newProgram(nothing), "version", "-o", "json")
	var said map[string]string
	if err := json.Unmarshal([]byte(text), &said); err != nil || said["program"] != "prog" || said["go"] != runtime.Version() || said["ath_version"] == "" || !strings.Contains(flag, said["version"]) {
		t.Errorf("%v %q", err, text)
	}
}

func TestShellsCompleteCommandsFlagsAndValues(t *testing.T) {
	for line, want := range map[string]string{
		"":                    "completion\tprint what makes a shell complete commands, flags and values\nhelp\t",
		"th":                  "things\tlook at things\n:4",
		"run --mo":            "--mode\thow\n:4",
		"run --mode ":         "slow\nfast\n:4",
		"run --mode=f":        "slow\nfast\n:4",
		"run -o ":             "text\njson\n:4",
		"run --config ":       ":0", // files
		"run --config conf/a": ":0",
		"run --server ":       ":4",  // nothing, and no files
		"run --into ":         ":16", // folders
		"run ":                ":4",
		"run --stat":          ":4",
		"help t":              "completion\t",
		"help things l":       "list\tlist what there is\n:4",
		"completion z":        "zsh\tfor zsh\n:4",
		"run -mo":             ":4", // the old spelling goes on, but is not offered
		"-h":                  "-h\tshow this help\n:4",
	} {
		words := strings.Split(line, " ")
		code, stdout, _ := run(t, newProgram(nothing), append([]string{"__complete"}, words...)...)
		if code != cli.ExitOK || !strings.HasPrefix(stdout, want) {
			t.Errorf("%q: exit code %d\n%s", line, code, stdout)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		code, stdout, stderr := run(t, newProgram(nothing), "completion", shell)
		if code != cli.ExitOK || stderr != "" || !strings.Contains(stdout, "__complete") || !strings.Contains(stdout, "prog") {
			t.Errorf("%s: exit code %d, %q, %d bytes", shell, code, stderr, len(stdout))
		}
	}
}
