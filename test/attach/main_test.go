// Package attach_test lets every kind of client attach to sessions of the real OpenCode by every kind of address, and prints which
// does.
package attach_test

import (
	"os"
	"testing"

	"berth/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }
