// Package browser_test shows in a real Chromium what people and hostile pages can do. People use sessions of the real OpenCode, in
// containers; the hostile pages are of sessions whose server is this very program.
package browser_test

import (
	"fmt"
	"os"
	"testing"

	"berth/test/harness"
)

// serveVariable has the port that this program serves a session on, instead of running tests.
const serveVariable = "BERTH_TEST_BROWSER_SESSION"

func TestMain(m *testing.M) {
	if os.Getenv(serveVariable) == "" {
		os.Exit(harness.Main(m))
	}
	if err := servePages(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
