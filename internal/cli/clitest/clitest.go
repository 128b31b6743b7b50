// Package clitest checks what every program's command line must have, whoever
// adds a command to it.
package clitest

import (
	"io"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/athd/athd/internal/cli"
)

const widest = 72 // characters of the line that a list of commands has for one

// Terminal is one at which nobody types and where no variable is set.
func Terminal(stdout, stderr io.Writer) cli.Terminal {
	return cli.Terminal{
		Stdin: strings.NewReader(""), Stdout: stdout, Stderr: stderr,
		LookupEnv: func(string) (string, bool) { return "", false },
	}
}

// CheckTree checks each command of a program: one short line that says what it
// does, examples that its own flags understand, and a help that shows both.
func CheckTree(t *testing.T, newRoot func(cli.Terminal) *cobra.Command) {
	t.Helper()
	seen := 0
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		seen++
		checkTexts(t, c)
		checkFlags(t, c)
		for line := range strings.Lines(c.Example) {
			checkExample(t, newRoot, c, strings.TrimSpace(line))
		}
		checkHelp(t, newRoot, c)
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				walk(sub)
			}
		}
	}
	walk(newRoot(Terminal(io.Discard, io.Discard)))
	if seen < 4 {
		t.Errorf("only %d commands were found", seen)
	}
}

func checkTexts(t *testing.T, c *cobra.Command) {
	t.Helper()
	if s := c.Short; s == "" || len([]rune(s)) > widest || unicode.IsUpper([]rune(s)[0]) || strings.HasSuffix(s, ".") {
		t.Errorf("%s: want one short line that says what it does, not a sentence: %q", c.CommandPath(), s)
	}
	if strings.TrimSpace(c.Example) == "" {
		t.Errorf("%s has no example", c.CommandPath())
	}
	if p := c.Parent(); p != nil && len(p.Groups()) > 0 && c.GroupID == "" {
		t.Errorf("%s is in none of the groups of %s", c.CommandPath(), p.CommandPath())
	}
}

func checkFlags(t *testing.T, c *cobra.Command) {
	t.Helper()
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if value, usage := pflag.UnquoteUsage(f); usage == "" || f.NoOptDefVal == "" && value == "string" {
			t.Errorf("%s --%s: want a usage that names the value in back quotes: %q", c.CommandPath(), f.Name, f.Usage)
		}
		if len(f.Name) == 1 {
			t.Errorf("%s -%s has no long name", c.CommandPath(), f.Name)
		}
	})
}

// checkExample reads an example as the program would.
func checkExample(t *testing.T, newRoot func(cli.Terminal) *cobra.Command, of *cobra.Command, line string) {
	t.Helper()
	words := split(line)
	if len(words) == 0 || words[0] == "export" {
		return
	}
	var out strings.Builder
	root := newRoot(Terminal(&out, &out))
	if words[0] != root.Name() {
		t.Errorf("%s: the example calls another program: %s", of.CommandPath(), line)
		return
	}
	if code := cli.Run(t.Context(), root, append(words[1:], "--no-such-flag"), Terminal(&out, &out)); code != cli.ExitUsage ||
		strings.Contains(out.String(), "warning") || !strings.Contains(out.String(), "no such flag: --no-such-flag") {
		t.Errorf("%s: the example is not understood: %s\n%s", of.CommandPath(), line, &out)
	}
	if found, _, err := root.Find(words[1:]); err != nil || !strings.HasPrefix(found.CommandPath(), of.CommandPath()) {
		t.Errorf("%s: the example shows another command: %s", of.CommandPath(), line)
	}
}

func checkHelp(t *testing.T, newRoot func(cli.Terminal) *cobra.Command, of *cobra.Command) {
	t.Helper()
	var stdout, stderr strings.Builder
	terminal := Terminal(&stdout, &stderr)
	path := append(strings.Fields(of.CommandPath())[1:], "--help")
	if code := cli.Run(t.Context(), newRoot(terminal), path, terminal); code != cli.ExitOK || stderr.Len() > 0 ||
		!strings.Contains(stdout.String(), "\nusage:\n  "+of.CommandPath()+" ") || !strings.Contains(stdout.String(), of.Example) {
		t.Errorf("%s --help: exit code %d\n%s%s", of.CommandPath(), code, &stdout, &stderr)
	}
	if strings.Contains(stdout.String(), "help for ") {
		t.Errorf("%s --help explains itself:\n%s", of.CommandPath(), &stdout)
	}
}

// split cuts an example into words as a shell does, as far as examples need it.
func split(line string) (words []string) {
	line, _, _ = strings.Cut(line, " <")
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		end := " "
		if line[0] == '\'' {
			line, end = line[1:], "'"
		}
		var word string
		word, line, _ = strings.Cut(line, end)
		words = append(words, word)
	}
	return words
}
