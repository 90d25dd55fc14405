package main

import (
	"flag"
	"net"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "update the golden files of testdata/script")

func TestMain(m *testing.M) {
	if os.Getenv(waitVariable) != "" {
		waitForSignals()
	}
	testscript.Main(m, map[string]func(){"berth": main})
}

// TestScripts runs testdata/script, which is the specification of the command line.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector waits a second at every exit
			e.Setenv("BERTH_STATE_DIR", e.WorkDir+"/state")
			taken, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			e.Defer(func() { _ = taken.Close() })
			e.Setenv("TAKEN", taken.Addr().String()) // an address on which something listens
			return nil
		},
	})
}
