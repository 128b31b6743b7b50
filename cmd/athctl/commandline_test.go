package main

import (
	"testing"

	"github.com/athd/athd/internal/cli/clitest"
)

func TestEveryCommandHasALineExamplesAndHelp(t *testing.T) {
	clitest.CheckTree(t, newRoot)
}
