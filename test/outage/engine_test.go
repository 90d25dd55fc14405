// Package outage_test stops and restarts the engine while sessions are running.
package outage_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"berth/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// engine is the engine of a test that runs in namespaces of its own.
type engine struct {
	t     *testing.T
	dir   string
	flags []string
	cmd   *exec.Cmd
	ended chan struct{}
}

// newEngine starts an engine for this test only, at the socket that the harness uses.
func newEngine(t *testing.T, dir string, flags ...string) *engine {
	t.Helper()
	e := &engine{t: t, dir: dir, flags: flags}
	harness.Must(t, os.WriteFile(filepath.Join(dir, "daemon.json"), []byte("{}"), 0o600))
	t.Cleanup(func() {
		e.end(syscall.SIGTERM)
		if t.Failed() {
			log, _ := os.ReadFile(e.path("log"))
			t.Logf("the engine's log ends: %s", log[max(0, len(log)-4000):])
		}
	})
	e.start()
	return e
}

func (e *engine) path(name string) string { return filepath.Join(e.dir, name) }

// start starts the engine and waits until it answers.
func (e *engine) start() {
	e.t.Helper()
	log, err := os.OpenFile(e.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	harness.Must(e.t, err)
	e.cmd = exec.Command(harness.Dockerd(e.t), append([]string{
		"--config-file", e.path("daemon.json"), "--host", "unix://" + e.path("docker.sock"), "--storage-driver", "vfs",
		"--data-root", e.path("data"), "--exec-root", e.path("exec"), "--pidfile", e.path("pid"),
	}, e.flags...)...)
	e.cmd.Stdout, e.cmd.Stderr = log, log
	harness.Must(e.t, e.cmd.Start())
	e.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait()
		_ = log.Close()
		close(ended)
	}(e.cmd, e.ended)
	api, err := client.New(client.WithHost("unix://" + e.path("docker.sock")))
	harness.Must(e.t, err)
	defer func() { _ = api.Close() }()
	harness.Eventually(e.t, time.Minute, "the engine answers", func() error {
		ctx, cancel := context.WithTimeout(e.t.Context(), 5*time.Second)
		defer cancel()
		_, err := api.Ping(ctx, client.PingOptions{})
		return err
	})
}

// end sends the engine a signal and waits until it has exited.
func (e *engine) end(signal os.Signal) {
	_ = e.cmd.Process.Signal(signal)
	<-e.ended
}
