package runtimetest

import (
	"slices"

	"berth/internal/access"
	"berth/internal/session"
)

var driftParts = []part{
	{"an unchanged container has no drift", driftNone},
	{"drift names the parts that differ", driftNamed},
	{"there is no drift without a container", driftAbsent},
	{"check of an image", imagesChecked},
}

// startAgain starts a container that was recreated, and returns its server's sessions.
func (w *fixture) startAgain(spec session.Spec) []string {
	w.Helper()
	w.must(w.Runtime.Start(w.call(), spec.Name), "start")
	return w.kept(w.ready(spec), spec)
}

func stateRestored(w *fixture) {
	spec, c := w.running()
	before := w.keep(c, spec)
	w.must(w.Runtime.Stop(w.call(), c.ID, stopTimeout), "stop")
	w.must(w.Runtime.SaveState(w.call(), spec), "save")
	w.must(w.Runtime.CheckCopy(w.call(), spec), "look for the copy")
	w.must(w.Runtime.SaveState(w.call(), spec), "save again, in place of the first copy")
	if got := w.startAgain(spec); !slices.Equal(got, []string{before}) {
		w.Fatalf("after the copy: got %v, want [%s]: a copy changes nothing", got, before)
	}
	w.keep(w.inspect(spec.Name), spec)
	for range 2 { // a restoration may be repeated
		w.must(w.Runtime.Remove(w.call(), spec.Name, true), "remove")
		w.must(w.Runtime.RestoreState(w.call(), spec), "restore")
		w.must(w.Runtime.RestoreState(w.call(), spec), "restore again")
		w.createAs(spec)
		if got := w.startAgain(spec); !slices.Equal(got, []string{before}) {
			w.Errorf("got %v, want [%s]: only what was added after the copy is lost", got, before)
		}
	}
	all, err := w.Runtime.List(w.call())
	w.must(err, "list")
	for _, c := range all {
		if c.Session == spec.Session && c.Name != spec.Name {
			w.Errorf("the helper container %s is left", c.Name)
		}
	}
}

func stateInUse(w *fixture) {
	spec, c := w.running()
	w.keep(c, spec)
	w.mustFail(w.Runtime.SaveState(w.call(), spec), session.CodeConflict, "save", "the server writes to it")
	w.must(w.Runtime.Stop(w.call(), c.ID, stopTimeout), "stop")
	w.must(w.Runtime.SaveState(w.call(), spec), "save")
	w.mustFail(w.Runtime.RestoreState(w.call(), spec), session.CodeConflict, "restore", "there is a container that uses it")
}

func stateWithoutCopy(w *fixture) {
	spec, c := w.running()
	id := w.keep(c, spec)
	w.must(w.Runtime.Remove(w.call(), c.ID, true), "remove")
	w.mustFail(w.Runtime.RestoreState(w.call(), spec), session.CodeNotFound, "restore", "nothing was saved")
	w.mustFail(w.Runtime.CheckCopy(w.call(), spec), session.CodeNotFound, "look for a copy", "nothing was saved")
	w.createAs(spec)
	if got := w.startAgain(spec); !slices.Equal(got, []string{id}) {
		w.Errorf("got %v, want [%s]: what was not saved is not replaced", got, id)
	}
}

func copiesRemoved(w *fixture) {
	spec, c := w.running()
	w.keep(c, spec)
	w.must(w.Runtime.Stop(w.call(), c.ID, stopTimeout), "stop")
	w.must(w.Runtime.SaveState(w.call(), spec), "save")
	w.must(w.Runtime.Remove(w.call(), c.ID, true), "remove")
	w.must(w.Runtime.RemoveVolumes(w.call(), spec.Name), "remove the volumes")
	w.mustFail(w.Runtime.RestoreState(w.call(), spec), session.CodeNotFound, "restore", "the copy went with the volumes")
}

func driftNone(w *fixture) {
	spec, c := w.running()
	for _, ref := range []string{c.ID, c.Name} {
		if got, err := w.Runtime.Drift(w.call(), ref, spec); err != nil || len(got) > 0 {
			w.Errorf("got %v, %v, want nothing: it was made from this specification", got, err)
		}
	}
	w.must(w.Runtime.Stop(w.call(), c.ID, stopTimeout), "stop")
	if got, err := w.Runtime.Drift(w.call(), c.ID, spec); err != nil || len(got) > 0 {
		w.Errorf("stopped: got %v, %v, want nothing", got, err)
	}
}

func driftNamed(w *fixture) {
	spec, c := w.create("")
	for _, row := range []struct {
		part   session.Part
		change func(*session.Spec)
	}{
		{session.PartLimits, func(s *session.Spec) { s.Limits.Memory *= 2 }},
		{session.PartLimits, func(s *session.Spec) { s.Limits.Processes++ }},
		{session.PartLimits, func(s *session.Spec) { s.Limits.CPUs /= 2 }},
		{session.PartEnvironment, func(s *session.Spec) { s.Profile.Env = map[string]string{"STUB_MODE": "", "MORE": "1"} }},
		{session.PartEnvironment, func(s *session.Spec) { s.Profile.Env = nil }},
		{session.PartEnvironment, func(s *session.Spec) { s.Credential = access.NewToken(32) }},
		{session.PartProfile, func(s *session.Spec) {
			s.Profile.Tmpfs = append(slices.Clone(s.Profile.Tmpfs), session.Tmpfs{Path: "/more", Size: 1 << 20})
		}},
	} {
		if row.part == session.PartLimits && w.NoLimits {
			continue
		}
		changed := spec
		row.change(&changed)
		got, err := w.Runtime.Drift(w.call(), c.ID, changed)
		w.must(err, "drift")
		if !slices.Equal(got, []session.Part{row.part}) {
			w.Errorf("got %v, want [%s]", got, row.part)
		}
	}
	if !w.NoImages {
		missing := spec
		missing.Image = MissingImage
		if got, err := w.Runtime.Drift(w.call(), c.ID, missing); err != nil || len(got) > 0 {
			w.Errorf("got %v, %v, want nothing: no container could be made of that image", got, err)
		}
	}
}

func driftAbsent(w *fixture) {
	spec := w.spec("")
	_, err := w.Runtime.Drift(w.call(), spec.Name, spec)
	w.mustFail(err, session.CodeNotFound, "drift", "there is no container")
}

func imagesChecked(w *fixture) {
	spec := w.spec("")
	w.must(w.Runtime.CheckImage(w.call(), spec.Profile, spec.Image), "check the image of every part of this suite")
	if w.NoImages {
		return
	}
	w.mustFail(w.Runtime.CheckImage(w.call(), spec.Profile, MissingImage), session.CodeImageNotFound, "check", "there is no such image")
	w.mustFail(w.Runtime.CheckImage(w.call(), spec.Profile, InvalidImage), session.CodeInvalid, "check", "that is no reference")
}
