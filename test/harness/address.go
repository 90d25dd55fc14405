package harness

import (
	"fmt"
	"testing"

	"berth/internal/porttest"
)

// FreeAddress returns an address of the loopback interface that is reserved for this test until the test has ended.
func FreeAddress(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", porttest.Free(t))
}
