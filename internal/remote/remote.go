// Package remote is the running athd that a command of athctl asks: which one,
// by flags and environment, and whether secrets may be sent there.
package remote

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/cli"
)

// Options are what --server and --allow-http say.
type Options struct {
	Server    *string
	AllowHTTP *bool
}

// AddFlags adds --server and --allow-http to a command, with their help. ATHCTL_SERVER is the default.
func AddFlags(c *cobra.Command, t cli.Terminal, server, allowHTTP string) Options {
	return Options{
		Server:    c.Flags().String("server", t.Env("ATHCTL_SERVER"), server),
		AllowHTTP: c.Flags().Bool("allow-http", false, allowHTTP),
	}
}

// Base checks where secrets would be sent, and returns scheme and host.
// secrets is what they are, for people.
func Base(server string, allowHTTP bool, secrets string) (string, error) {
	base, err := client.ParseServer(server, allowHTTP)
	if errors.Is(err, client.ErrInsecureHTTP) {
		return "", fmt.Errorf("the server's URL is http: %s would be readable on its way; use https, or --allow-http if you know that way", secrets)
	}
	if err != nil {
		return "", errors.New(strings.TrimPrefix(err.Error(), "client: "))
	}
	return base, nil
}

// ByEnvoy reports whether a refusal is Envoy's own: nobody asked athd, or it
// did not answer.
func ByEnvoy(decision string) bool { return strings.HasPrefix(decision, "env_") }
