// Package e2e_test drives the real binary from outside, as its users do.
package e2e_test

import (
	"os"
	"testing"

	"berth/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// world is one installation of Berth, and what the tests look for in it.
type world struct{ *harness.World }

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{harness.New(t)}
}
