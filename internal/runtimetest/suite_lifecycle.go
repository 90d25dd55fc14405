package runtimetest

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"berth/internal/session"
)

var lifecycleParts = []part{
	{"create does not start", createDoesNotStart},
	{"create of a name that is taken is a conflict", createTwice},
	{"of creates of one name at once one wins", createRace},
	{"create without the image leaves nothing", createWithoutImage},
	{"start makes the server answer to its credential alone", startAnswers},
	{"start of a running container changes nothing", startTwice},
	{"start of nothing is not found", startNothing},
	{"many containers start at once", startMany},
	{"stop ends the server and can be repeated", stopTwice},
	{"stop leaves alone what never ran", stopCreated},
	{"stop of nothing is not found", stopNothing},
	{"stop kills a server that does not end in time", stopStubborn},
	{"remove refuses a running container unless forced", removeRunning},
	{"remove of nothing is fine", removeNothing},
	{"a server that exits at start is seen to have exited", exitAtStart},
	{"a server that ends by itself is seen with its code", exitLater},
}

const (
	notRun  = "it has not been started"
	stopped = "it has been stopped"
)

func createDoesNotStart(w *fixture) {
	spec, made := w.create("")
	for call, c := range map[string]session.Container{"create": made, "inspect": w.inspect(spec.Name)} {
		if c.ID == "" || c.Name != spec.Name || c.Session != spec.Session || c.Image != spec.Image {
			w.Errorf("%s: got %+v, want an ID, name %q, session %q and image %q", call, c, spec.Name, spec.Session, spec.Image)
		}
		if c.State != session.StateStopped {
			w.Errorf("%s: got state %q, want %q: %s", call, c.State, session.StateStopped, notRun)
		}
		if c.Address != "" || !c.StartedAt.IsZero() || !c.FinishedAt.IsZero() {
			w.Errorf("%s: got address %q, started %v, finished %v, want none: %s", call, c.Address, c.StartedAt, c.FinishedAt, notRun)
		}
		if c.CreatedAt.IsZero() {
			w.Errorf("%s: got no time of creation", call)
		}
		if c.HostDir == "" {
			w.Errorf("%s: got no host directory: the workspace exists from creation on", call)
		}
	}
	byID := w.inspect(made.ID)
	if byID.Name != spec.Name {
		w.Errorf("inspect by ID: got name %q, want %q", byID.Name, spec.Name)
	}
}

func createTwice(w *fixture) {
	spec, first := w.create("")
	_, err := w.Runtime.Create(w.call(), spec)
	w.mustFail(err, session.CodeConflict, "create again", "the name is taken")
	if got := w.inspect(spec.Name).ID; got != first.ID {
		w.Errorf("got container %s, want the first one, %s: a failed create changes nothing", got, first.ID)
	}
}

func createRace(w *fixture) {
	spec := w.spec("")
	const n = 4
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { _, errs[i] = w.Runtime.Create(w.call(), spec) })
	}
	all.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if session.CodeOf(err) != session.CodeConflict {
			w.Errorf("got %v, want nil or code %q", err, session.CodeConflict)
		}
	}
	if won != 1 {
		w.Errorf("%d creates of one name succeeded, want 1", won)
	}
}

func createWithoutImage(w *fixture) {
	if w.NoImages {
		w.Skip("this runtime knows no images")
	}
	spec := w.spec("")
	spec.Image = MissingImage
	_, err := w.Runtime.Create(w.call(), spec)
	w.mustFail(err, session.CodeImageNotFound, "create", "the image does not exist")
	_, err = w.Runtime.Inspect(w.call(), spec.Name)
	w.mustFail(err, session.CodeNotFound, "inspect", "a failed create leaves no container")
}

func startAnswers(w *fixture) {
	spec, c := w.running()
	if c.State != session.StateRunning || c.StartedAt.IsZero() || !c.FinishedAt.Before(c.StartedAt) {
		w.Errorf("got state %q, started %v, finished %v, want a container that runs", c.State, c.StartedAt, c.FinishedAt)
	}
	var path map[string]any
	w.do(http.MethodGet, c, spec, "/path", &path)
	for name, change := range map[string]func(*session.Spec){
		"no password":      func(s *session.Spec) { s.Credential = "" },
		"a wrong password": func(s *session.Spec) { s.Credential = "wrong" },
		"a wrong name":     func(s *session.Spec) { s.Profile.Username = "somebody" },
	} {
		wrong := spec
		change(&wrong)
		err := ask(w.Context(), http.MethodGet, c.Address, wrong, "/path", &path)
		if !errors.Is(err, statusError(http.StatusUnauthorized)) {
			w.Errorf("with %s: got %v, want 401: the server was not given its credential", name, err)
		}
	}
}

func startTwice(w *fixture) {
	spec, first := w.running()
	w.must(w.Runtime.Start(w.call(), spec.Name), "start again")
	if again := w.inspect(spec.Name); again.Address != first.Address || !again.StartedAt.Equal(first.StartedAt) {
		w.Errorf("got %s since %v, want %s since %v: it ran already", again.Address, again.StartedAt, first.Address, first.StartedAt)
	}
}

func startNothing(w *fixture) {
	err := w.Runtime.Start(w.call(), w.spec("").Name)
	w.mustFail(err, session.CodeNotFound, "start", "there is no such container")
}

func startMany(w *fixture) {
	const n = 6
	specs := make([]session.Spec, n)
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range specs {
		specs[i] = w.spec("")
		all.Go(func() {
			c, err := w.Runtime.Create(w.call(), specs[i])
			if err == nil {
				err = w.Runtime.Start(w.call(), c.ID)
			}
			errs[i] = err
		})
	}
	all.Wait()
	w.must(errors.Join(errs...), "create and start at once")
	addresses := map[string]bool{}
	for _, spec := range specs {
		addresses[w.ready(spec).Address] = true
	}
	if len(addresses) != n {
		w.Errorf("got %d different addresses, want %d: each container has its own", len(addresses), n)
	}
}

func stopTwice(w *fixture) {
	spec, c := w.running()
	w.must(w.Runtime.Stop(w.call(), c.ID, stopTimeout), "stop")
	after := w.inspect(spec.Name)
	if after.State != session.StateStopped || after.Address != "" || after.FinishedAt.IsZero() {
		w.Errorf("got state %q, address %q, finished %v, want a stopped container: %s", after.State, after.Address, after.FinishedAt, stopped)
	}
	if after.OOMKilled {
		w.Errorf("got OOMKilled, want not: %s", stopped)
	}
	var answer any
	if err := ask(w.Context(), http.MethodGet, c.Address, spec, "/path", &answer); err == nil {
		w.Errorf("the server still answers: %s", stopped)
	}
	w.must(w.Runtime.Stop(w.call(), spec.Name, stopTimeout), "stop again")
}

func stopCreated(w *fixture) {
	spec, _ := w.create("")
	w.must(w.Runtime.Stop(w.call(), spec.Name, stopTimeout), "stop")
	if got := w.inspect(spec.Name); got.State != session.StateStopped || !got.StartedAt.IsZero() {
		w.Errorf("got state %q, started %v, want %q and never: %s", got.State, got.StartedAt, session.StateStopped, notRun)
	}
}

func stopNothing(w *fixture) {
	err := w.Runtime.Stop(w.call(), w.spec("").Name, stopTimeout)
	w.mustFail(err, session.CodeNotFound, "stop", "there is no such container")
}

func stopStubborn(w *fixture) {
	spec, c := w.create("stubborn")
	w.must(w.Runtime.Start(w.call(), c.ID), "start")
	w.ready(spec)
	const timeout = time.Second
	begun := time.Now()
	w.must(w.Runtime.Stop(w.call(), c.ID, timeout), "stop")
	if took := time.Since(begun); took < timeout*9/10 {
		w.Errorf("stopped after %s, want %s at least: a server is given its time", took, timeout)
	}
	if after := w.inspect(spec.Name); after.State != session.StateStopped || after.ExitCode != exitKilled {
		w.Errorf("got state %q with code %d, want %q with %d: it was killed", after.State, after.ExitCode, session.StateStopped, exitKilled)
	}
}

func removeRunning(w *fixture) {
	spec, c := w.running()
	w.mustFail(w.Runtime.Remove(w.call(), c.ID, false), session.CodeConflict, "remove", "it runs")
	w.ready(spec)
	w.must(w.Runtime.Remove(w.call(), c.ID, true), "remove by force")
	_, err := w.Runtime.Inspect(w.call(), spec.Name)
	w.mustFail(err, session.CodeNotFound, "inspect", "it has been removed")
	_, err = w.Runtime.Inspect(w.call(), c.ID)
	w.mustFail(err, session.CodeNotFound, "inspect by ID", "it has been removed")
	var answer any
	if err := ask(w.Context(), http.MethodGet, c.Address, spec, "/path", &answer); err == nil {
		w.Error("the server still answers although its container has been removed")
	}
}

func removeNothing(w *fixture) {
	spec, c := w.create("")
	w.must(w.Runtime.Remove(w.call(), c.ID, false), "remove what does not run")
	w.must(w.Runtime.Remove(w.call(), c.ID, false), "remove by ID what is gone")
	w.must(w.Runtime.Remove(w.call(), spec.Name, true), "remove by name and force what is gone")
}

func exitAtStart(w *fixture) {
	spec, c := w.create("exit")
	if err := w.Runtime.Start(w.call(), c.ID); err != nil {
		w.mustFail(err, session.CodeStartFailed, "start", "an engine may notice the exit at once")
	}
	after := w.exited(spec.Name)
	if after.ExitCode != exitStub || after.Address != "" {
		w.Errorf("got code %d and address %q, want code %d and none", after.ExitCode, after.Address, exitStub)
	}
	if words := w.logs(spec.Name, session.LogOptions{Tail: 1}); words == "" {
		w.Error("the log is empty, want the reason why the server has exited")
	}
}

func exitLater(w *fixture) {
	spec, c := w.running()
	w.exit(c, spec, 7)
	if after := w.exited(spec.Name); after.ExitCode != 7 || after.OOMKilled || after.FinishedAt.Before(after.StartedAt) {
		w.Errorf("got %+v, want exit code 7 after the start, not out of memory", after)
	}
	w.must(w.Runtime.Start(w.call(), c.ID), "start again")
	if again := w.ready(spec); again.ExitCode != 0 {
		w.Errorf("got exit code %d, want 0: it runs again", again.ExitCode)
	}
}
