package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/athd/athd/client"
)

// ServerBase checks where secrets would be sent, and returns scheme and host.
// secrets is what they are, for people.
func ServerBase(server string, allowHTTP bool, secrets string) (string, error) {
	base, err := client.ParseServer(server, allowHTTP)
	if errors.Is(err, client.ErrInsecureHTTP) {
		return "", fmt.Errorf("the server's URL is http: %s would be readable on its way; use https, or -allow-http if you know that way", secrets)
	}
	if err != nil {
		return "", errors.New(strings.TrimPrefix(err.Error(), "client: "))
	}
	return base, nil
}

// ByEnvoy reports whether a refusal is Envoy's own: nobody asked athd, or it
// did not answer.
func ByEnvoy(decision string) bool { return strings.HasPrefix(decision, "env_") }
