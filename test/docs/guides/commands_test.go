package guides

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// flagsOf asks a command for its flags; words may go on behind its name.
func flagsOf(t *testing.T, known map[string][]string, words []string) []string {
	t.Helper()
	for n := min(3, len(words)); n > 0; n-- {
		name := strings.Join(words[:n], " ")
		if flags, ok := known[name]; ok {
			return flags
		}
		out, _ := exec.CommandContext(t.Context(), program(t, words[0]), append(slices.Clone(words[1:n]), "--help")...).CombinedOutput()
		if !strings.Contains(string(out), "\nusage:\n  "+name+" ") {
			continue
		}
		known[name] = []string{"-h", "--help"}
		for _, m := range regexp.MustCompile(`(?m)^ +(?:(-\w), )?(--[\w-]+)`).FindAllStringSubmatch(string(out), -1) {
			known[name] = append(known[name], m[1], m[2])
		}
		return known[name]
	}
	return nil
}

// typed returns the commands of a page that a reader types, as words.
func typed(t *testing.T, page string) (all [][]string) {
	t.Helper()
	for _, b := range blocks(t, page) {
		for line := range strings.Lines(b.text) {
			line, prompted := strings.CutPrefix(strings.TrimSpace(line), "$ ")
			if prompted || b.kind == "sh" {
				all = append(all, commands(line)...)
			}
		}
	}
	return all
}

// commands splits a line as a shell does, as far as the pages need it.
func commands(line string) (all [][]string) {
	var words []string
	var word strings.Builder
	var quote rune
	flush := func() {
		if word.Len() > 0 {
			words = append(words, word.String())
		}
		word.Reset()
	}
	end := func() {
		flush()
		for len(words) > 0 && regexp.MustCompile(`^(export$|\w+=)`).MatchString(words[0]) {
			words = words[1:]
		}
		if len(words) > 0 {
			all = append(all, words)
		}
		words = nil
	}
	for _, c := range line {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			} else {
				word.WriteRune(c)
			}
		case c == '\'' || c == '"':
			quote = c
		case strings.ContainsRune("|&;()", c):
			end()
		case c == '#' && word.Len() == 0:
			end()
			return all
		case c == ' ':
			flush()
		default:
			word.WriteRune(c)
		}
	}
	end()
	return all
}

// Every athd, athctl and athdemo that README and docs have a reader type is a
// command with these flags.
func TestCommandsHaveTheirFlags(t *testing.T) {
	known := map[string][]string{}
	seen := 0
	for _, page := range pages(t) {
		for _, words := range typed(t, page) {
			if !slices.Contains([]string{"athd", "athctl", "athdemo"}, words[0]) {
				continue
			}
			seen++
			flags := flagsOf(t, known, words)
			if flags == nil {
				t.Errorf("%s: there is no such command: %q", page, words)
				continue
			}
			for _, word := range words[1:] {
				name, _, _ := strings.Cut(word, "=")
				if strings.HasPrefix(word, "-") && len(word) > 1 && !slices.Contains(flags, name) {
					t.Errorf("%s: there is no %s in %q", page, name, words)
				}
			}
		}
	}
	if seen < 60 {
		t.Errorf("only %d commands were found", seen)
	}
}

// Whoever waits is told for what: a loop of README or docs says it before, and
// commands that wait for something by themselves, and say nothing, are not
// typed.
func TestNothingIsWaitedForInSilence(t *testing.T) {
	loops := 0
	for _, page := range pages(t) {
		for _, b := range blocks(t, page) {
			before := ""
			for line := range strings.Lines(b.text) {
				typed := strings.TrimPrefix(strings.TrimSpace(line), "$ ")
				if b.kind != "sh" && typed == strings.TrimSpace(line) {
					continue // what is printed
				}
				first, _, _ := strings.Cut(typed, " ")
				switch {
				case first == "sleep", strings.Contains(typed, "compose") && strings.Contains(typed, "--wait"):
					t.Errorf("%s: nobody is told what this waits for: %s", page, typed)
				case first == "while" || first == "until":
					loops++
					if !strings.HasPrefix(before, `echo "waiting for `) {
						t.Errorf("%s: nothing before it says what this waits for: %s", page, typed)
					}
				}
				before = typed
			}
		}
	}
	if loops == 0 {
		t.Error("no loop was found: has this test gone blind?")
	}
}
