package doctor

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"berth/internal/config"
	"berth/internal/docker"
	"berth/internal/dockertest"
	"berth/internal/guardtest"
	"berth/internal/pki"
	"berth/internal/session"
)

// TestChecksOnRealEngine has a session in a container, and a container with the engine's socket beside it.
func TestChecksOnRealEngine(t *testing.T) {
	t.Parallel()
	socket := strings.TrimPrefix(dockertest.Engine(t), "unix://")
	instance, profile := dockertest.Instance(t), dockertest.StubProfile(t)
	dir := filepath.Join(t.TempDir(), "certs")
	if _, err := pki.Init(dir, pki.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(config.Options{Environ: []string{
		"DOCKER_HOST=" + guardtest.Start(t, dir, socket), "DOCKER_CERT_PATH=" + dir, "BERTH_STATE_DIR=" + t.TempDir(), "BERTH_LISTEN=127.0.0.1:1",
	}})
	if err != nil {
		t.Fatal(err)
	}
	startSession(t, dockertest.Engine(t), instance, profile)
	// A file in place of the socket, so that concurrent checks of this engine do not report it.
	mounted := filepath.Join(t.TempDir(), "engine.sock")
	write(t, mounted, "")
	startWithSocket(t, instance, profile.Image, mounted)

	o, done := FromConfig(cfg)
	defer done()
	o.Instance, o.ComposePaths, o.Sockets = instance, []string{t.TempDir()}, []string{mounted}
	o.DaemonConfig = filepath.Join(t.TempDir(), "none.json")
	report, err := Run(t.Context(), o, Checks(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, r := range report.Results {
		complete(t, r.Findings)
		got[r.Check] = strings.Join(codes(r.Findings), ", ")
	}
	for check, want := range map[string]string{
		"certificate-strength": "pass strong", "certificate-permissions": "pass protected", "tls-connection": "pass connected",
		"environment": "pass settings-usable", "host-ip": "pass host-known", "proxy-routing": "pass sessions-reached",
		"resource-limits": "pass limits-enforced", "resource-monitoring": "pass controllers-active", "certificate-rotation": "pass in-time",
		"firewall": "pass loopback-only", "api-logging": "pass logging-on", "socket-mounts": "fail socket-in-container",
		"session-throttling": "pass sessions-bounded",
	} {
		if !strings.Contains(got[check], want) {
			t.Errorf("%s: got %q, want %q among it", check, got[check], want)
		}
	}
}

// startSession runs the stub server as Berth would, and waits until it answers.
func startSession(t *testing.T, host, instance string, profile session.Profile) {
	t.Helper()
	runtime, err := docker.Open(t.Context(), docker.Options{Host: host, Instance: instance, Network: instance})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = runtime.Close() })
	spec := session.Spec{
		Session: "ses-doctor", Name: instance + "-doctor", Profile: profile, Image: profile.Image, Credential: "correct horse battery staple",
		Limits:    session.Limits{Memory: 64 << 20, CPUs: session.OneCPU / 2, Processes: 128},
		CreatedAt: time.Now().UTC(),
	}
	if _, err := runtime.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if err := runtime.Start(t.Context(), spec.Name); err != nil {
		t.Fatal(err)
	}
	c, err := runtime.Inspect(t.Context(), spec.Name)
	if err != nil {
		t.Fatal(err)
	}
	deadline, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for answers(deadline, c.Address) != nil {
		select {
		case <-tick.C:
		case <-deadline.Done():
			t.Fatal("the session's server does not answer")
		}
	}
}

// startWithSocket runs a container that has the engine's socket. Its program ends by itself if it does not like its
// surroundings, so the stub gets what it needs.
func startWithSocket(t *testing.T, instance, image, socket string) {
	t.Helper()
	api := dockertest.Client(t)
	made, err := api.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Name: instance + "-socket",
		Config: &container.Config{
			Image: image, User: "10001:10001", Env: []string{"OPENCODE_SERVER_PASSWORD=correct horse battery staple", "STUB_STATE=/state"},
			Labels: map[string]string{"berth.instance": instance},
		},
		HostConfig: &container.HostConfig{NetworkMode: "none", CapDrop: []string{"ALL"}, Binds: []string{socket + ":/engine.sock:ro"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := api.ContainerStart(t.Context(), made.ID, client.ContainerStartOptions{}); err != nil {
		t.Fatal(err)
	}
}
