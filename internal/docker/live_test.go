package docker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"berth/internal/docker"
	"berth/internal/dockertest"
	"berth/internal/session"
	"berth/internal/waittest"
)

const password = session.Secret("correct horse battery staple")

// fixture is one installation on the test engine: a runtime, and the profile of the stub image.
type fixture struct {
	*docker.Runtime
	host     string
	instance string
	profile  session.Profile
}

func setup(t *testing.T, change func(*docker.Options)) fixture {
	t.Helper()
	w := fixture{host: dockertest.Engine(t), instance: dockertest.Instance(t), profile: dockertest.StubProfile(t)}
	opts := docker.Options{
		Host: w.host, Instance: w.instance, Network: w.instance, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	if change != nil {
		change(&opts)
	}
	runtime, err := docker.Open(t.Context(), opts)
	if err != nil {
		t.Fatalf("open the test engine: %v", err)
	}
	t.Cleanup(func() { _ = runtime.Close() })
	w.Runtime = runtime
	return w
}

func (w fixture) spec(name string) session.Spec {
	return session.Spec{
		Session:    session.ID("ses-" + name),
		Name:       w.instance + "-" + name,
		Profile:    w.profile,
		Image:      w.profile.Image,
		Credential: password,
		Limits:     session.Limits{Memory: 64 << 20, CPUs: session.OneCPU, Processes: 128},
		CreatedAt:  time.Now().UTC().Truncate(time.Microsecond),
	}
}

// up makes and starts a container, and returns it when its server answers.
func (w fixture) up(t *testing.T, spec session.Spec) session.Container {
	t.Helper()
	if _, err := w.Create(t.Context(), spec); err != nil {
		t.Fatalf("create %s: %v", spec.Name, err)
	}
	if err := w.Start(t.Context(), spec.Name); err != nil {
		t.Fatalf("start %s: %v", spec.Name, err)
	}
	c, err := w.Inspect(t.Context(), spec.Name)
	if err != nil {
		t.Fatalf("inspect %s: %v", spec.Name, err)
	}
	waittest.Until(t, "the server answers", func() error {
		var health struct{ Healthy bool }
		if err := get(t.Context(), c.Address, "/global/health", &health); err != nil {
			return err
		}
		if !health.Healthy {
			return fmt.Errorf("not healthy")
		}
		return nil
	})
	return c
}

// get reads a JSON document from a stub server, over a connection of its own.
func get(ctx context.Context, address, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return err
	}
	req.SetBasicAuth("opencode", password.Reveal())
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: status %d: %s", path, resp.StatusCode, body)
	}
	return json.Unmarshal(body, into)
}

func wantCode(t *testing.T, err error, want session.Code, why string) {
	t.Helper()
	if got := session.CodeOf(err); got != want {
		t.Errorf("code = %q, want %q: %s (error: %v)", got, want, why, err)
	}
}
