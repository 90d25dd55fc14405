package runtimetest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"berth/internal/session"
)

// Subject is a runtime under test.
type Subject struct {
	Runtime session.Runtime
	// Spec returns the specification of a container with this name, with a session ID and a credential of its own. Its
	// server is test/stubserver or imitates it: STUB_MODE in the profile's Env (the suite sets it), GET and POST /session
	// kept in a volume, /exit?code=N, and one line with "start on" on standard output and one with "mode" on standard
	// error at start.
	Spec func(name string) session.Spec
	// Other is the runtime of another installation on the same engine; nil if an engine has only one.
	Other session.Runtime
	// NoImages is set for a runtime without images, so that none can be missing.
	NoImages bool
	// NoLimits is set for a runtime without limits, so that a container does not differ by its limits.
	NoLimits bool
}

// Time limits of the suite. They are long, because an engine on a busy machine is slow.
const (
	readyWithin = 30 * time.Second
	eventWithin = 2 * time.Second
	callWithin  = 60 * time.Second
	stopTimeout = 5 * time.Second
)

// Run checks that a runtime fulfils the contract of session.Runtime. open is called once for each part of the suite, which run in
// parallel; it may return the same runtime each time. The suite removes the containers and volumes that it makes.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	t.Helper()
	for _, part := range slices.Concat(lifecycleParts, pauseParts, observationParts, dataParts, driftParts) {
		t.Run(part.name, func(t *testing.T) {
			t.Parallel()
			part.run(&fixture{T: t, Subject: open(t)})
		})
	}
}

type part struct {
	name string
	run  func(*fixture)
}

// fixture is one part's view of the runtime. Its calls must succeed, or the part fails.
type fixture struct {
	*testing.T
	Subject
}

// call returns a context for one call.
func (w *fixture) call() context.Context {
	ctx, cancel := context.WithTimeout(w.Context(), callWithin)
	w.Cleanup(cancel)
	return ctx
}

// spec returns a specification with a unique name. Its container and volumes are removed when the test ends.
func (w *fixture) spec(mode string) session.Spec {
	w.Helper()
	spec := w.Spec("berth-suite-" + strings.ToLower(rand.Text()[:12]))
	env := map[string]string{"STUB_MODE": mode}
	for name, value := range spec.Profile.Env {
		if _, ours := env[name]; !ours {
			env[name] = value
		}
	}
	spec.Profile.Env = env
	w.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(w.Context()), callWithin)
		defer cancel()
		if err := w.Runtime.Remove(ctx, spec.Name, true); err != nil {
			w.Errorf("clean up: remove %s: %v", spec.Name, err)
		}
		if err := w.Runtime.RemoveVolumes(ctx, spec.Name); err != nil {
			w.Errorf("clean up: remove the volumes of %s: %v", spec.Name, err)
		}
	})
	return spec
}

func (w *fixture) create(mode string) (session.Spec, session.Container) {
	w.Helper()
	spec := w.spec(mode)
	return spec, w.createAs(spec)
}

func (w *fixture) createAs(spec session.Spec) session.Container {
	w.Helper()
	c, err := w.Runtime.Create(w.call(), spec)
	w.must(err, "create")
	return c
}

// running creates and starts a container and waits until its server answers.
func (w *fixture) running() (session.Spec, session.Container) {
	w.Helper()
	spec, c := w.create("")
	w.must(w.Runtime.Start(w.call(), c.ID), "start")
	return spec, w.ready(spec)
}

func (w *fixture) inspect(ref string) session.Container {
	w.Helper()
	c, err := w.Runtime.Inspect(w.call(), ref)
	w.must(err, "inspect")
	return c
}

func (w *fixture) must(err error, what string) {
	w.Helper()
	if err != nil {
		w.Fatalf("%s: got %v (code %q), want nil", what, err, session.CodeOf(err))
	}
}

func (w *fixture) mustFail(err error, code session.Code, what, why string) {
	w.Helper()
	if session.CodeOf(err) != code {
		w.Fatalf("%s: got %v (code %q), want code %q: %s", what, err, session.CodeOf(err), code, why)
	}
}

// until polls until the container is in the wanted state.
func (w *fixture) until(ref, what string, within time.Duration, ok func(session.Container) bool) session.Container {
	w.Helper()
	var c session.Container
	w.poll(what, within, func() error {
		c = w.inspect(ref)
		if !ok(c) {
			return fmt.Errorf("the container is %+v", c)
		}
		return nil
	})
	return c
}

func (w *fixture) exited(ref string) session.Container {
	w.Helper()
	return w.until(ref, "the container has exited", readyWithin, func(c session.Container) bool {
		return c.State == session.StateStopped && !c.FinishedAt.IsZero()
	})
}

func (w *fixture) poll(what string, within time.Duration, f func() error) {
	w.Helper()
	late := time.After(within)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			w.Fatalf("not within %s: %s; last: %v", within, what, err)
		}
	}
}

// ready waits until the container's server answers its readiness path, and returns the container.
func (w *fixture) ready(spec session.Spec) session.Container {
	w.Helper()
	var c session.Container
	w.poll("the server answers", readyWithin, func() error {
		c = w.inspect(spec.Name)
		if c.Address == "" {
			return fmt.Errorf("no address in state %s", c.State)
		}
		var answer map[string]any
		if err := ask(w.Context(), http.MethodGet, c.Address, spec, spec.Profile.Ready.Path, &answer); err != nil {
			return err
		}
		if healthy, _ := answer[spec.Profile.Ready.Member].(bool); !healthy {
			return fmt.Errorf("answered %v", answer)
		}
		return nil
	})
	return c
}

func (w *fixture) do(method string, c session.Container, spec session.Spec, path string, answer any) {
	w.Helper()
	w.must(ask(w.Context(), method, c.Address, spec, path, answer), method+" "+path)
}

// exit makes the server exit. Its response may be lost; the callers check that it has exited.
func (w *fixture) exit(c session.Container, spec session.Spec, code int) {
	var answer any
	_ = ask(w.Context(), http.MethodPost, c.Address, spec, fmt.Sprintf("/exit?code=%d", code), &answer)
}

// ask makes one request over a connection of its own and reads the JSON of its answer.
func ask(ctx context.Context, method, address string, spec session.Spec, path string, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, nil)
	if err != nil {
		return err
	}
	r.SetBasicAuth(spec.Profile.Username, spec.Credential.Reveal())
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return statusError(response.StatusCode)
	}
	return json.Unmarshal(body, answer)
}

// statusError is a response other than 200.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("answered %d", int(e)) }

// kept returns the IDs of the OpenCode sessions that the server remembers.
func (w *fixture) kept(c session.Container, spec session.Spec) []string {
	w.Helper()
	var all []struct {
		ID string `json:"id"`
	}
	w.do(http.MethodGet, c, spec, "/session", &all)
	ids := []string{}
	for _, s := range all {
		ids = append(ids, s.ID)
	}
	return ids
}

// keep has the server remember one more OpenCode session, in its volume, and returns the session's ID.
func (w *fixture) keep(c session.Container, spec session.Spec) string {
	w.Helper()
	var made struct {
		ID string `json:"id"`
	}
	w.do(http.MethodPost, c, spec, "/session", &made)
	if made.ID == "" {
		w.Fatal("POST /session: the answer has no id")
	}
	return made.ID
}
