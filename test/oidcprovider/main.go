// oidcprovider is a whole OpenID provider for tests: ann and bob sign in with the password "secret", and ann is an admin.
// It has the clients "berth" and "other", with the secret "SECRET-of-" and their name, and signs access tokens.
//
// The first line of its output is its issuer. It ends when its input does. POST /test/rotate replaces the key that signs;
// with ?withdraw=true the earlier ones are published no longer.
package main

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
)

func main() {
	redirect := flag.String("redirect", "", "redirect URL of both clients")
	flag.Parse()
	if err := run(*redirect); err != nil {
		fmt.Fprintln(os.Stderr, "oidcprovider:", err)
		os.Exit(1)
	}
}

func run(redirect string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	issuer := "http://" + listener.Addr().String()
	clients := map[string]*storage.Client{}
	for _, id := range []string{"berth", "other"} {
		clients[id] = storage.WebClient(id, "SECRET-of-"+id, redirect)
	}
	s, err := newStore(clients)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /test/rotate", func(w http.ResponseWriter, r *http.Request) {
		if err := s.rotate(r.FormValue("withdraw") == "true"); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.Handle("/", exampleop.SetupServer(issuer, s, slog.New(slog.DiscardHandler), false))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		server.Close()
	}()
	fmt.Println(issuer)
	if err := server.Serve(listener); err != http.ErrServerClosed {
		return err
	}
	return nil
}
