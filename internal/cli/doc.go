// Package cli has what all three programs' command lines share: how one runs
// and ends, its help, its flags, and the spellings of before.
//
// A program is a tree of [cobra.Command] that [Run] runs. A command is built by
// a function and says what is wrong by the error that it returns:
//
//	func newValidate(t cli.Terminal) *cobra.Command {
//		c := &cobra.Command{
//			Use:     "validate",
//			Short:   "check the configuration, tell every fault",
//			Example: "  athd validate --config athd.yaml",
//			GroupID: "configure",
//			Args:    cli.NoArgs,
//		}
//		config := cli.ConfigFlag(c)
//		strict := c.Flags().Bool("strict", false, "exit with 1 for warnings too")
//		c.RunE = func(c *cobra.Command, _ []string) error { … t.Stdout … c.Context() … }
//		return c
//	}
//
// The usage text of a flag names its value in back quotes: a shell completes
// `file`, `program` and `folder` by what is on the disk, any other only by what
// [Choice], [Complete] or cobra's own functions say.
package cli
