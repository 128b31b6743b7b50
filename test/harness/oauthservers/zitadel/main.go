// Command zitadel is the example server of github.com/zitadel/oidc, as it is, but
// that it listens on loopback, under an issuer and with clients that the
// environment names. Its issuer ends with a slash; its tokens live for five
// minutes; there are two users, test-user@127.0.0.1 and test-user2.
package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	issuer := os.Getenv("ISSUER")
	clients := map[string][2]string{"athd": {"athd", os.Getenv("SECRET")}, "other": {"other", os.Getenv("OTHER_SECRET")}}
	storage.RegisterClients(
		storage.WebClient("athd", os.Getenv("SECRET"), strings.Split(os.Getenv("REDIRECTS"), ",")...),
		storage.WebClient("other", os.Getenv("OTHER_SECRET"), strings.Split(os.Getenv("OTHER_REDIRECTS"), ",")...),
	)
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	handler := exampleop.SetupServer(issuer, storage.NewStorage(everybody{os.Getenv("PASSWORD")}), logger, false)
	listener, err := net.Listen("tcp", os.Getenv("ADDRESS"))
	if err != nil {
		return err
	}
	ready, err := json.Marshal(clients)
	if err != nil {
		return err
	}
	fmt.Printf("ready %s\n", ready)
	return (&http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}).Serve(listener)
}

// everybody is a store of users in which each name is taken: the name is the id.
type everybody struct{ password string }

func (e everybody) GetUserByID(id string) *storage.User {
	return &storage.User{ID: id, Username: id, Password: e.password}
}

func (e everybody) GetUserByUsername(name string) *storage.User { return e.GetUserByID(name) }

func (everybody) ExampleClientID() string { return "service" }
