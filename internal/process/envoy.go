package process

import (
	"context"
	"fmt"
	"regexp"
)

var envoyVersion = regexp.MustCompile(`/(\d+\.\d+\.\d+)[^/]*/`)

// EnvoyVersion asks an Envoy program for its version, such as 1.36.2.
func EnvoyVersion(ctx context.Context, program string) (string, error) {
	text, err := Output(ctx, program, "--version")
	if err != nil {
		return "", err
	}
	m := envoyVersion.FindSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("%s --version says %.200q, which is not Envoy", program, text)
	}
	return string(m[1]), nil
}
