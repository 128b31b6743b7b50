package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// modern rewrites a command line of before: flags of several letters after one
// dash (-config), flags of one letter after two (--o), and names that a command
// had. It also returns what it found to be old, each once, for people.
//
// It knows the flags of the command that is meant, so that a value which begins
// with a dash stays as it is, and so does what -- precedes.
func modern(root *cobra.Command, args []string) (out, old []string) {
	if isCompletion(args) {
		return args, nil
	}
	tell := func(text string) {
		if !slices.Contains(old, text) {
			old = append(old, text)
		}
	}
	c, named := root, false
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(out, args[i:]...), old
		}
		if arg == "-" || !strings.HasPrefix(arg, "-") {
			out = append(out, arg)
			if sub := below(c, arg); named || sub == nil {
				named = true // what follows are arguments
			} else {
				if c = sub; c.Name() != arg {
					tell(`"` + c.Parent().CommandPath() + " " + arg + `" is now "` + c.CommandPath() + `"`)
				}
			}
			continue
		}
		written, value, inline := strings.Cut(arg, "=")
		f := flagOf(c, written)
		if f == nil {
			out = append(out, arg)
			if wantsNext(c, arg) && i+1 < len(args) {
				i++
				out = append(out, args[i])
			}
			continue
		}
		now := "--" + f.Name
		if _, is := f.Annotations[obsolete]; is {
			tell(written + " has no effect")
		} else if written != now && written != "-"+f.Shorthand {
			tell(written + " is now " + now)
		}
		switch {
		case inline:
			out = append(out, now+"="+value)
		case isSwitch(f) || i+1 == len(args):
			out = append(out, now)
		default:
			i++
			out = append(out, now, args[i])
		}
	}
	return out, old
}

// below is the command of a name, or of a name that it had, below c.
func below(c *cobra.Command, name string) *cobra.Command {
	for _, sub := range c.Commands() {
		if sub.Name() == name || sub.HasAlias(name) {
			return sub
		}
	}
	return nil
}

// flagOf is the flag that is written so, with one dash or two; nil where there
// is none, or several letters each of which is one.
func flagOf(c *cobra.Command, written string) *pflag.Flag {
	name := strings.TrimPrefix(strings.TrimPrefix(written, "-"), "-")
	if f := c.Flags().Lookup(name); f != nil {
		return f
	}
	if len(name) == 1 {
		return c.Flags().ShorthandLookup(name)
	}
	return nil
}

// wantsNext reports whether the last of several one-letter flags takes the next
// argument as its value.
func wantsNext(c *cobra.Command, arg string) bool {
	if strings.HasPrefix(arg, "--") {
		return false
	}
	for i := 1; i < len(arg); i++ {
		f := c.Flags().ShorthandLookup(arg[i : i+1])
		if f == nil {
			return false
		}
		if !isSwitch(f) {
			return i == len(arg)-1
		}
	}
	return false
}
