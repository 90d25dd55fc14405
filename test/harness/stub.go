package harness

import (
	"maps"
	"path/filepath"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"berth/internal/dockertest"
	"berth/internal/session"
)

// NewStub is like [New] with sessions of the small test server, which starts quickly and can misbehave: there is a
// profile with the name of each mode.
func NewStub(t testing.TB) *Env {
	t.Helper()
	w := New(t)
	stub := dockertest.StubProfile(t)
	profiles := map[string]session.Profile{"stub": stub}
	for _, mode := range []string{"exit", "mute", "slow", "closed"} {
		p := stub
		p.Env = maps.Clone(stub.Env)
		p.Env["STUB_MODE"] = mode
		profiles[mode] = p
	}
	w.Profiles(profiles)
	w.Vars["BERTH_PROFILE"] = "stub"
	w.Vars["CONTAINER_MEMORY_LIMIT"] = "512m" // the minimum of the built-in profile
	w.Vars["SESSION_START_TIMEOUT"] = "60"    // containers are slow on a busy machine
	return w
}

// Mine selects the objects of this environment on the engine.
func (w *Env) Mine() client.Filters {
	return client.Filters{}.Add("label", "berth.instance="+w.Instance)
}

// Containers lists this environment's containers in every state.
func (w *Env) Containers() []container.Summary {
	w.t.Helper()
	list, err := dockertest.Client(w.t).ContainerList(w.t.Context(), client.ContainerListOptions{All: true, Filters: w.Mine()})
	Must(w.t, err)
	return list.Items
}

// Sibling is another instance of Berth with the same settings, in a state directory and on an address of its own. It is
// not started yet.
func (w *Env) Sibling(name string) *Env {
	w.t.Helper()
	s := *w
	s.name, s.Serve = name, nil
	s.Vars = maps.Clone(w.Vars)
	s.Vars["BERTH_STATE_DIR"] = filepath.Join(w.Dir, name+"-state")
	s.Vars["BERTH_LISTEN"] = FreeAddress(w.t)
	s.URL = "http://" + s.Vars["BERTH_LISTEN"]
	return &s
}
