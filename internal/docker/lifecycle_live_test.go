package docker_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"berth/internal/docker"
	"berth/internal/dockertest"
	"berth/internal/session"
	"berth/internal/waittest"

	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"
)

func TestMissingImageLeavesNothing(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	spec := w.spec("none")
	spec.Image = "berth-test/there-is-no-such-image:1"
	_, err := w.Create(t.Context(), spec)
	wantCode(t, err, session.CodeImageNotFound, "the engine does not have the image")
	if !strings.Contains(session.MessageOf(err), spec.Image) {
		t.Errorf("message = %q, want the image's name in it: it says what to build", session.MessageOf(err))
	}
	if left, err := w.List(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("%d containers are there (%v), want none", len(left), err)
	}
}

func TestTakenNameIsConflict(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	first, err := w.Create(t.Context(), w.spec("twice"))
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	_, err = w.Create(t.Context(), w.spec("twice"))
	wantCode(t, err, session.CodeConflict, "the name is taken")
	if got, err := w.Inspect(t.Context(), first.Name); err != nil || got.ID != first.ID {
		t.Errorf("after the refused second creation: %q, %v; want the first container %q untouched", got.ID, err, first.ID)
	}
}

func TestContainersOfOtherInstallationsAreNotFound(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	made, err := w.Create(t.Context(), w.spec("mine"))
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	other, err := docker.Open(t.Context(), docker.Options{Host: w.host, Instance: w.instance + "-other", Network: w.instance})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { _ = other.Close() })
	_, err = other.Inspect(t.Context(), made.ID)
	wantCode(t, err, session.CodeNotFound, "it belongs to another installation")
	for _, change := range []func(context.Context, string) error{other.Start, other.Pause, other.Resume} {
		wantCode(t, change(t.Context(), made.ID), session.CodeNotFound, "it belongs to another installation")
	}
	// A container that exists must not be reported as stopped or removed.
	for _, ref := range []string{made.ID, made.Name} {
		wantCode(t, other.Stop(t.Context(), ref, time.Second), session.CodeConflict, "it belongs to another installation")
		wantCode(t, other.Remove(t.Context(), ref, true), session.CodeConflict, "it belongs to another installation")
	}
	wantCode(t, other.RemoveVolumes(t.Context(), made.Name), session.CodeConflict, "the volumes belong to another installation")
	if listed, err := other.List(t.Context()); err != nil || len(listed) != 0 {
		t.Errorf("list = %v, %v; want nothing", listed, err)
	}
	if _, err := w.Inspect(t.Context(), made.ID); err != nil {
		t.Errorf("inspect by its owner: %v; want it untouched", err)
	}
	_, err = w.Inspect(t.Context(), made.ID[:12])
	wantCode(t, err, session.CodeNotFound, "the beginning of an ID is no ref")
}

func TestConcurrentCreatesAllRun(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	if operations := w.Engine().Operations; operations != w.Engine().CPUs {
		t.Errorf("%d operations at once, want as many as the engine has CPUs, %d", operations, w.Engine().CPUs)
	}
	bringUp(t, w, 6)
}

func TestSequentialCreatesAllRun(t *testing.T) {
	t.Parallel()
	w := setup(t, func(o *docker.Options) { o.Sequential, o.MaxOperations = true, 8 })
	if got := w.Engine().Operations; got != 1 {
		t.Errorf("%d operations at once, want 1", got)
	}
	bringUp(t, w, 3)
}

func bringUp(t *testing.T, w fixture, n int) {
	t.Helper()
	var group errgroup.Group
	var mu sync.Mutex
	addresses := map[string]string{}
	for i := range n {
		group.Go(func() error {
			spec := w.spec(fmt.Sprintf("n%d", i))
			if _, err := w.Create(t.Context(), spec); err != nil {
				return err
			}
			if err := w.Start(t.Context(), spec.Name); err != nil {
				return err
			}
			c, err := w.Inspect(t.Context(), spec.Name)
			mu.Lock()
			defer mu.Unlock()
			addresses[c.Address] = spec.Name
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatalf("bring up %d containers at once: %v", n, err)
	}
	if len(addresses) != n || addresses[""] != "" {
		t.Fatalf("addresses = %v, want %d different ones", addresses, n)
	}
	for address, name := range addresses {
		waittest.Until(t, name+" answers", func() error {
			return get(t.Context(), address, "/global/health", &struct{}{})
		})
	}
	listed, err := w.List(t.Context())
	if err != nil || len(listed) != n {
		t.Fatalf("list = %d containers, %v; want %d", len(listed), err, n)
	}
	for _, c := range listed {
		if c.State != session.StateRunning {
			t.Errorf("%s is %s, want running", c.Name, c.State)
		}
	}
}

func TestCanceledCreateLeavesNoContainer(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	// Each round cancels at another moment: before the network is looked up, while the engine works, and afterwards.
	for i := range 8 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i*i)*time.Millisecond)
		_, err := w.Create(ctx, w.spec(fmt.Sprintf("gone%d", i)))
		cancel()
		if err == nil {
			t.Logf("creation %d ended before it was canceled", i)
			if err := w.Remove(t.Context(), w.spec(fmt.Sprintf("gone%d", i)).Name, true); err != nil {
				t.Fatalf("remove: %v", err)
			}
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("creation %d: %v; want the context's error in the chain", i, err)
		}
	}
	all, err := dockertest.Client(t).ContainerList(t.Context(), client.ContainerListOptions{
		All: true, Filters: client.Filters{}.Add("label", "berth.instance="+w.instance),
	})
	if err != nil || len(all.Items) != 0 {
		t.Errorf("%d containers are there (%v), want none: no caller waits for them", len(all.Items), err)
	}
}

func TestUnpublishableAddressIsPortTaken(t *testing.T) {
	t.Parallel()
	w := setup(t, func(o *docker.Options) { o.PublishIP = "192.0.2.1" }) // RFC 5737: no host has it
	spec := w.spec("nowhere")
	if _, err := w.Create(t.Context(), spec); err != nil {
		t.Fatalf("create: %v", err)
	}
	err := w.Start(t.Context(), spec.Name)
	wantCode(t, err, session.CodePortTaken, "the engine's host does not have the address")
	if !strings.Contains(session.MessageOf(err), "SESSION_PUBLISH_IP") {
		t.Errorf("message = %q, want the setting's name in it", session.MessageOf(err))
	}
	c, err := w.Inspect(t.Context(), spec.Name)
	if err != nil || c.State == session.StateRunning || c.Fault == "" {
		t.Errorf("inspect = %+v, %v; want the container in place, not running, with the engine's message", c, err)
	}
}

func TestStartFailedWhenEngineCannotSetUpContainer(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	spec := w.spec("blocked")
	spec.Profile.Tmpfs = append(slices.Clone(spec.Profile.Tmpfs), session.Tmpfs{Path: "/stubserver", Size: 1 << 20}) // a file
	if _, err := w.Create(t.Context(), spec); err != nil {
		t.Fatalf("create: %v", err)
	}
	wantCode(t, w.Start(t.Context(), spec.Name), session.CodeStartFailed, "a directory cannot be mounted over a file")
	if c, err := w.Inspect(t.Context(), spec.Name); err != nil || c.Fault == "" {
		t.Errorf("inspect = %+v, %v; want the engine's message about the failed start", c, err)
	}
}

func TestMissingProgramExitsWith127AndLog(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	spec := w.spec("noexec")
	spec.Image = emptyImage(t, w.instance)
	if _, err := w.Create(t.Context(), spec); err != nil {
		t.Fatalf("create: %v", err)
	}
	if err := w.Start(t.Context(), spec.Name); err != nil {
		t.Fatalf("start: %v; want nil, because the init did start", err)
	}
	waittest.Until(t, "the container ends", func() error {
		c, err := w.Inspect(t.Context(), spec.Name)
		if err == nil && (c.State != session.StateStopped || c.FinishedAt.IsZero() || c.ExitCode != 127) {
			return fmt.Errorf("%s, exit code %d; want stopped after a run, 127", c.State, c.ExitCode)
		}
		return err
	})
	log, err := w.Logs(t.Context(), spec.Name, session.LogOptions{})
	if err != nil {
		t.Fatalf("logs: %v", err)
	}
	defer log.Close()
	if text, err := io.ReadAll(log); err != nil || !strings.Contains(string(text), "there-is-no-program") {
		t.Errorf("log = %q, %v; want the program's name in it", text, err)
	}
}

// emptyImage makes an image without the program that it names.
func emptyImage(t *testing.T, tag string) string {
	t.Helper()
	var layer bytes.Buffer
	archive := tar.NewWriter(&layer)
	for _, dir := range []string{"proc/", "sys/", "dev/", "etc/", "tmp/", "run/", "workspace/", "state/"} {
		if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}); err != nil {
			t.Fatalf("write the image: %v", err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatalf("write the image: %v", err)
	}
	api, reference := dockertest.Client(t), "berth-test/empty:"+tag
	result, err := api.ImageImport(t.Context(), client.ImageImportSource{Source: &layer, SourceName: "-"}, reference,
		client.ImageImportOptions{Changes: []string{`ENTRYPOINT ["/there-is-no-program"]`}})
	if err != nil {
		t.Fatalf("import the image: %v", err)
	}
	defer result.Close()
	if _, err := io.Copy(io.Discard, result); err != nil {
		t.Fatalf("import the image: %v", err)
	}
	t.Cleanup(func() {
		_, _ = api.ImageRemove(context.WithoutCancel(t.Context()), reference, client.ImageRemoveOptions{Force: true})
	})
	return reference
}

func TestContainerStartsAfterNetworkPrune(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	api := dockertest.Client(t)
	spec := w.spec("pruned")
	w.up(t, spec)
	if err := w.Stop(t.Context(), spec.Name, 5*time.Second); err != nil {
		t.Fatalf("stop: %v", err)
	}
	if _, err := api.NetworkRemove(t.Context(), w.instance, client.NetworkRemoveOptions{}); err != nil {
		t.Fatalf("remove the network without the runtime: %v", err)
	}
	if err := w.Start(t.Context(), spec.Name); err != nil {
		t.Fatalf("start after the network was pruned: %v; want it attached to the new one", err)
	}
	c, err := w.Inspect(t.Context(), spec.Name)
	if err != nil {
		t.Fatalf("inspect: %v", err)
	}
	waittest.Until(t, "the server answers again", func() error { return get(t.Context(), c.Address, "/path", &struct{}{}) })
}

func TestConcurrentCreatesMakeOneNetwork(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	var group errgroup.Group
	for i := range 4 { // as in four processes: they share no lock
		group.Go(func() error {
			r, err := docker.Open(t.Context(), docker.Options{Host: w.host, Instance: w.instance, Network: w.instance})
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = r.Close() })
			_, err = r.Create(t.Context(), w.spec(fmt.Sprintf("p%d", i)))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatalf("create through four runtimes at once: %v", err)
	}
	if _, err := w.Create(t.Context(), w.spec("last")); err != nil { // the next creation removes duplicates
		t.Fatalf("create: %v", err)
	}
	list, err := dockertest.Client(t).NetworkList(t.Context(), client.NetworkListOptions{Filters: client.Filters{}.Add("name", w.instance)})
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("%d networks of the name (%v), want one: the name would be ambiguous", len(list.Items), err)
	}
	for i := range 4 {
		if err := w.Start(t.Context(), w.spec(fmt.Sprintf("p%d", i)).Name); err != nil {
			t.Errorf("start: %v", err)
		}
	}
}

func TestForeignNetworkIsRefused(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	_, err := dockertest.Client(t).NetworkCreate(t.Context(), w.instance, client.NetworkCreateOptions{
		Driver: "bridge", Labels: map[string]string{"berth.instance": w.instance},
	})
	if err != nil {
		t.Fatalf("make a network: %v", err)
	}
	_, err = w.Create(t.Context(), w.spec("open"))
	wantCode(t, err, session.CodeConflict, "on this network sessions would reach each other")
}

func TestLogOfSilentServerOpensAtOnce(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	spec := w.spec("quiet")
	w.up(t, spec)
	opened := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		log, err := w.Logs(ctx, spec.Name, session.LogOptions{Follow: true, Tail: 1})
		if err == nil {
			_, err = io.ReadFull(log, make([]byte, 1))
			_ = log.Close()
		}
		opened <- err
	}()
	select {
	case err := <-opened:
		if err != nil {
			t.Errorf("logs: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the log did not open within 10 s")
	}
}

// A server that ignores SIGTERM delays only its own stop.
func TestSlowStopsDoNotDelayCreates(t *testing.T) {
	t.Parallel()
	w := setup(t, func(o *docker.Options) { o.MaxOperations = 2 })
	const timeout = time.Minute
	var stops errgroup.Group
	var stopped atomic.Int64
	for _, name := range []string{"one", "two"} {
		s := w.spec(name)
		s.Profile.Env = maps.Clone(s.Profile.Env)
		if s.Profile.Env == nil {
			s.Profile.Env = map[string]string{}
		}
		s.Profile.Env["STUB_MODE"] = "stubborn"
		w.up(t, s)
		stops.Go(func() error {
			defer stopped.Add(1)
			return w.Stop(t.Context(), s.Name, timeout)
		})
	}
	w.up(t, w.spec("three"))
	if n := stopped.Load(); n != 0 {
		t.Errorf("%d stops had ended when the third session ran, want none: they take %s", n, timeout)
	}
	for _, name := range []string{"one", "two"} {
		if err := w.Remove(t.Context(), w.spec(name).Name, true); err != nil {
			t.Errorf("remove %s while it is being stopped: %v", name, err)
		}
	}
	_ = stops.Wait() // of containers that were removed meanwhile
}
