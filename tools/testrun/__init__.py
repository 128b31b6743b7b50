"""Runs go test, reads its JSON events and reports them. See ../gotest."""
