// Package e2e_test drives the real binary from outside, as its users do.
package e2e_test

import (
	"os"
	"testing"

	"berth/internal/postgrestest"
	"berth/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m, postgrestest.Clean)) }

// fixture is one installation of Berth, and what the tests look for in it.
type fixture struct{ *harness.Env }

func newWorld(t *testing.T) *fixture {
	t.Helper()
	return &fixture{harness.New(t)}
}
