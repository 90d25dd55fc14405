package runtimetest

import (
	"context"
	"errors"
	"io"
	"slices"

	"berth/internal/session"
)

var dataParts = []part{
	{"volumes survive a stop and a start", volumesSurviveRestart},
	{"volumes survive the container", volumesSurviveRemove},
	{"volumes in use are not removed", volumesInUse},
	{"volumes that are not there are removed without complaint", volumesAbsent},
	{"containers do not share volumes", volumesSeparate},
	{"a used workspace that is missing is not recreated", workspaceGone},
	{"state is what it was when it was saved", stateRestored},
	{"state is copied of no server that runs, and restored under no container", stateInUse},
	{"without a copy nothing is restored", stateWithoutCopy},
	{"copies go with the volumes", copiesRemoved},
	{"a call with an ended context does nothing", callsHonourContext},
}

func volumesSurviveRestart(w *fixture) {
	spec, c := w.running()
	id := w.keep(c, spec)
	w.must(w.Runtime.Stop(w.call(), c.ID, stopTimeout), "stop")
	w.must(w.Runtime.Start(w.call(), c.ID), "start")
	if got := w.kept(w.ready(spec), spec); !slices.Equal(got, []string{id}) {
		w.Errorf("got %v, want [%s]: a restart keeps the volumes", got, id)
	}
}

func volumesSurviveRemove(w *fixture) {
	spec, c := w.running()
	id := w.keep(c, spec)
	w.must(w.Runtime.Remove(w.call(), c.ID, true), "remove")
	c = w.createAs(spec)
	w.must(w.Runtime.Start(w.call(), c.ID), "start")
	if got := w.kept(w.ready(spec), spec); !slices.Equal(got, []string{id}) {
		w.Fatalf("got %v, want [%s]: a container's volumes outlive it", got, id)
	}
	w.must(w.Runtime.Remove(w.call(), c.ID, true), "remove")
	w.must(w.Runtime.RemoveVolumes(w.call(), spec.Name), "remove the volumes")
	c = w.createAs(spec)
	w.must(w.Runtime.Start(w.call(), c.ID), "start")
	if got := w.kept(w.ready(spec), spec); len(got) != 0 {
		w.Errorf("got %v, want nothing: the volumes had been removed", got)
	}
}

func workspaceGone(w *fixture) {
	spec, c := w.running()
	w.must(w.Runtime.Remove(w.call(), c.ID, true), "remove")
	spec.InUse = true
	c = w.createAs(spec) // on the existing workspace
	w.must(w.Runtime.Remove(w.call(), c.ID, true), "remove")
	w.must(w.Runtime.RemoveVolumes(w.call(), spec.Name), "remove the volumes")
	_, err := w.Runtime.Create(w.call(), spec)
	w.mustFail(err, session.CodeConflict, "create", "its user would find an empty workspace")
	if _, err := w.Runtime.Inspect(w.call(), spec.Name); session.CodeOf(err) != session.CodeNotFound {
		w.Errorf("got %v, want no container", err)
	}
}

func volumesInUse(w *fixture) {
	spec, c := w.running()
	id := w.keep(c, spec)
	w.mustFail(w.Runtime.RemoveVolumes(w.call(), spec.Name), session.CodeConflict, "remove the volumes", "they are in use")
	if got := w.kept(c, spec); !slices.Equal(got, []string{id}) {
		w.Errorf("got %v, want [%s]: volumes in use are left alone", got, id)
	}
}

func volumesAbsent(w *fixture) {
	w.must(w.Runtime.RemoveVolumes(w.call(), w.spec("").Name), "remove the volumes of nothing")
}

func volumesSeparate(w *fixture) {
	spec, c := w.running()
	w.keep(c, spec)
	other, neighbour := w.running()
	if got := w.kept(neighbour, other); len(got) != 0 {
		w.Errorf("got %v, want nothing: these are the neighbour's", got)
	}
}

func callsHonourContext(w *fixture) {
	spec, c := w.running()
	unmade := w.spec("")
	ctx, cancel := context.WithCancel(w.Context())
	cancel()
	calls := map[Op]func() error{
		OpCreate:        func() error { _, err := w.Runtime.Create(ctx, unmade); return err },
		OpStart:         func() error { return w.Runtime.Start(ctx, spec.Name) },
		OpStop:          func() error { return w.Runtime.Stop(ctx, spec.Name, stopTimeout) },
		OpRemove:        func() error { return w.Runtime.Remove(ctx, spec.Name, true) },
		OpRemoveVolumes: func() error { return w.Runtime.RemoveVolumes(ctx, spec.Name) },
		OpCheckImage:    func() error { return w.Runtime.CheckImage(ctx, spec.Profile, spec.Image) },
		OpDrift:         func() error { _, err := w.Runtime.Drift(ctx, spec.Name, spec); return err },
		OpSaveState:     func() error { return w.Runtime.SaveState(ctx, spec) },
		OpCheckCopy:     func() error { return w.Runtime.CheckCopy(ctx, spec) },
		OpRestoreState:  func() error { return w.Runtime.RestoreState(ctx, spec) },
		OpInspect:       func() error { _, err := w.Runtime.Inspect(ctx, spec.Name); return err },
		OpList:          func() error { _, err := w.Runtime.List(ctx); return err },
		OpStats:         func() error { _, err := w.Runtime.Stats(ctx, spec.Name); return err },
		OpPing:          func() error { return w.Runtime.Ping(ctx) },
		OpWatch:         func() error { return w.Runtime.Watch(ctx, nil, func(session.RuntimeEvent) {}) },
		OpLogs: func() error {
			logs, err := w.Runtime.Logs(ctx, spec.Name, session.LogOptions{Follow: true})
			if err == nil {
				_, err = io.ReadAll(logs)
				err = errors.Join(err, logs.Close())
			}
			return err
		},
	}
	if p, ok := w.Runtime.(session.Pauser); ok {
		calls[OpPause] = func() error { return p.Pause(ctx, spec.Name) }
		calls[OpResume] = func() error { return p.Resume(ctx, spec.Name) }
	}
	for op, call := range calls {
		if err := call(); !errors.Is(err, context.Canceled) {
			w.Errorf("%s: got %v, want context.Canceled in its chain", op, err)
		}
	}
	if got := w.inspect(spec.Name); got.State != session.StateRunning || got.ID != c.ID {
		w.Errorf("got %+v, want the container running as before", got)
	}
	_, err := w.Runtime.Inspect(w.call(), unmade.Name)
	w.mustFail(err, session.CodeNotFound, "inspect", "its creation was cancelled before it began")
}
