package outage_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"berth/internal/dockertest"
	"berth/internal/session"
	"berth/test/harness"
)

// An engine that stops during the start of a session does not count against the session: the caller gets an error, and the operation
// is completed after the engine has recovered.
func TestEngineKilledDuringStarts(t *testing.T) {
	t.Parallel()
	dir, inside := harness.Isolated(t)
	if !inside {
		return
	}
	e := newEngine(t, dir)
	w := harness.NewStub(t)
	slow := dockertest.StubProfile(t)
	slow.Env = maps.Clone(slow.Env)
	slow.Env["STUB_MODE"], slow.Env["STUB_DELAY"] = "slow", "4s" // long enough for the engine to stop meanwhile
	w.Profiles(map[string]session.Profile{"stub": slow})
	w.Vars["CONTAINER_HEALTH_CHECK_INTERVAL"] = "2"
	w.StartServe()
	api, err := client.New(client.WithHost("unix://" + e.path("docker.sock")))
	harness.Must(t, err)
	t.Cleanup(func() { _ = api.Close() })
	_, err = api.ImageTag(t.Context(), client.ImageTagOptions{Source: slow.Image, Target: "outage:two"})
	harness.Must(t, err)

	first, token := w.Create("")
	busy := func(path, body string, signal os.Signal) {
		t.Helper()
		before := w.Call(http.MethodGet, "/sessions/"+first, w.AdminToken(), "").Field("container_id")
		answer := make(chan string, 1)
		go func() {
			a, err := w.Try(context.Background(), http.MethodPost, path, w.AdminToken(), body)
			if err == nil && (a.Status != http.StatusServiceUnavailable || a.Field("code") != string(session.CodeEngineUnavailable)) {
				err = errors.New(a.String())
			}
			answer <- fmt.Sprint(err)
		}()
		harness.Eventually(t, time.Minute, "a server is starting", func() error {
			list, err := api.ContainerList(t.Context(), client.ContainerListOptions{})
			if err != nil {
				return err
			}
			for _, c := range list.Items {
				all, err := w.Sessions(t.Context())
				if s := all[c.Labels["berth.session"]]; err == nil && s.Operation != nil && c.Labels["berth.helper"] == "" &&
					(s.Operation.Kind != "upgrade" || c.ID != before) {
					return nil
				}
			}
			return errors.New("no server is starting")
		})
		e.end(signal)
		e.start()
		if got := <-answer; got != "<nil>" {
			t.Errorf("%s during %s of the engine: got %s, want 503 and %s", path, signal, got, session.CodeEngineUnavailable)
		}
	}
	run := func(n int) {
		t.Helper()
		harness.Eventually(t, 90*time.Second, "all sessions run", func() error {
			all, err := w.Sessions(t.Context())
			for _, s := range all {
				if err == nil && (s.Status != "running" || s.Operation != nil || s.Restarts > 0) {
					err = fmt.Errorf("got %+v", s)
				}
			}
			if err == nil && len(all) != n {
				err = fmt.Errorf("got %d sessions, want %d", len(all), n)
			}
			return err
		})
	}
	busy("/sessions", "{}", syscall.SIGTERM)
	run(2)
	busy("/sessions/"+first+"/restart", "", syscall.SIGTERM)
	run(2)
	busy("/sessions/"+first+"/upgrade", `{"image":"outage:two"}`, syscall.SIGTERM)
	run(2)
	busy("/sessions", "{}", syscall.SIGKILL)
	run(3)
	if a := w.Call(http.MethodGet, "/sessions/"+first, w.AdminToken(), ""); a.Field("image") != "outage:two" {
		t.Errorf("got %s, want it upgraded", a)
	}
	if a := w.Call(http.MethodGet, "/s/"+first+"/session", token, ""); a.Status != http.StatusOK {
		t.Errorf("the session: got %s, want 200", a)
	}
}
