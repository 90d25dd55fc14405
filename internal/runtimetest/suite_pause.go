package runtimetest

import (
	"net/http"

	"berth/internal/session"
)

var pauseParts = []part{
	{"a paused container does nothing until it is resumed", pauseHolds},
	{"a paused container is stopped like one that runs", pausedStops},
	{"a paused container is removed only by force", pausedRemoved},
	{"a stopped container cannot be paused", pauseNotRunning},
}

// pauser skips the test where the runtime cannot pause.
func (w *fixture) pauser() session.Pauser {
	w.Helper()
	p, ok := w.Runtime.(session.Pauser)
	if !ok {
		w.Skip("this runtime cannot pause containers")
	}
	return p
}

func (w *fixture) paused() (session.Spec, session.Container) {
	w.Helper()
	p := w.pauser()
	spec, c := w.running()
	w.must(p.Pause(w.call(), c.ID), "pause")
	return spec, c
}

func pauseHolds(w *fixture) {
	p := w.pauser()
	spec, before := w.paused()
	w.must(p.Pause(w.call(), spec.Name), "pause again")
	if got := w.inspect(spec.Name); got.State != session.StatePaused || got.Address != "" {
		w.Errorf("got state %q at %q, want %q without an address", got.State, got.Address, session.StatePaused)
	}
	var answer map[string]any
	if err := ask(w.Context(), http.MethodGet, before.Address, spec, "/path", &answer); err == nil {
		w.Error("the server answers, want it paused")
	}
	w.mustFail(w.Runtime.SaveState(w.call(), spec), session.CodeConflict, "save", "the server is about to continue writing to it")
	w.must(p.Resume(w.call(), before.ID), "resume")
	w.must(p.Resume(w.call(), spec.Name), "resume again")
	after := w.ready(spec)
	if after.State != session.StateRunning || after.ID != before.ID || after.Address != before.Address || !after.StartedAt.Equal(before.StartedAt) {
		w.Errorf("got %+v, want %+v as before: it has not ended", after, before)
	}
}

func pausedStops(w *fixture) {
	spec, c := w.paused()
	w.must(w.Runtime.Stop(w.call(), c.ID, stopTimeout), "stop")
	if after := w.inspect(spec.Name); after.State != session.StateStopped || after.FinishedAt.IsZero() {
		w.Errorf("got %+v, want it stopped", after)
	}
	w.must(w.Runtime.Start(w.call(), c.ID), "start")
	w.ready(spec)
}

func pausedRemoved(w *fixture) {
	spec, c := w.paused()
	w.mustFail(w.Runtime.Remove(w.call(), c.ID, false), session.CodeConflict, "remove", "its server would be lost")
	w.must(w.Runtime.Remove(w.call(), c.ID, true), "remove by force")
	_, err := w.Runtime.Inspect(w.call(), spec.Name)
	w.mustFail(err, session.CodeNotFound, "inspect", "it has been removed")
}

func pauseNotRunning(w *fixture) {
	p := w.pauser()
	spec, c := w.create("")
	w.mustFail(p.Pause(w.call(), c.ID), session.CodeNotRunning, "pause", notRun)
	w.mustFail(p.Resume(w.call(), c.ID), session.CodeNotRunning, "resume", notRun)
	if got := w.inspect(spec.Name); got.State != session.StateStopped || !got.StartedAt.IsZero() {
		w.Errorf("got state %q, started %v, want %q and never: %s", got.State, got.StartedAt, session.StateStopped, notRun)
	}
	absent := w.spec("").Name
	w.mustFail(p.Pause(w.call(), absent), session.CodeNotFound, "pause", "there is no such container")
	w.mustFail(p.Resume(w.call(), absent), session.CodeNotFound, "resume", "there is no such container")
}
