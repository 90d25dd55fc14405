package browser_test

import (
	"maps"
	"testing"

	"berth/internal/tlstest"
	"berth/test/harness"
)

// startOpenCode runs a Berth of its own whose sessions are containers of the real OpenCode with the scripted model.
func startOpenCode(t *testing.T) *berth {
	t.Helper()
	env := harness.NewOpenCode(t)
	authority := tlstest.New(t)
	maps.Copy(env.Vars, settings(t, authority, env.Vars["BERTH_LISTEN"]))
	env.Vars["SESSION_START_TIMEOUT"], env.Vars["HTTP_READ_TIMEOUT"] = "180", "120" // on a machine that is busy with other tests
	env.Vars["CONTAINER_CPU_QUOTA"] = "200000"                                      // two processors
	env.LaunchServe()
	return connect(t, authority, env.Vars["BERTH_LISTEN"], env.Vars["BERTH_STATE_DIR"])
}
