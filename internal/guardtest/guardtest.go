// Package guardtest runs a guard for tests that need one before an engine. It knows nothing of what they ask of it.
package guardtest

import (
	"context"
	"testing"

	"berth/internal/guard"
	"berth/internal/pki"
)

// Start runs a guard with the certificates of a directory before an engine's socket, and returns its host.
func Start(t testing.TB, dir, socket string) string {
	t.Helper()
	config, _, err := pki.LoadServerTLS(pki.ServerPaths(dir), pki.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	g, err := guard.New(guard.Options{Listen: "tcp://127.0.0.1:0", Socket: socket, TLS: config})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("guard: %v", err)
		}
	})
	select {
	case <-g.Ready():
	case err := <-ended:
		ended <- nil
		t.Fatalf("guard: %v", err)
	}
	return "tcp://" + g.Addr().String()
}
