package main

import (
	"testing"

	"github.com/spf13/cobra"

	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/cli/clitest"
)

func TestEveryCommandHasALineExamplesAndHelp(t *testing.T) {
	clitest.CheckTree(t, func(t cli.Terminal) *cobra.Command { return newRoot(terminal{t}) })
}
