//go:build race

package stage

func buildArgs() []string { return []string{"build", "-race"} }
