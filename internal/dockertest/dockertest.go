// Package dockertest gives tests a Docker engine, a small image to run on it, and a namespace of their own that is cleaned up
// when they end.
//
// It knows the engine's API and Berth's labels. It does not know what is tested, and never starts an engine:
// BERTH_TEST_DOCKER_SOCKET names one.
package dockertest

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"
)

const (
	socketVariable  = "BERTH_TEST_DOCKER_SOCKET"
	requireVariable = "BERTH_TEST_REQUIRE"

	labelInstance = "berth.instance"
	sweepTimeout  = 3 * time.Minute
	sweepAtOnce   = 4 // containers
)

// Engine returns the host of the engine that tests may use, as "unix:///…" or "tcp://…". It skips the test when
// BERTH_TEST_DOCKER_SOCKET is not set, and fails it instead when BERTH_TEST_REQUIRE=1.
func Engine(t testing.TB) string {
	t.Helper()
	socket := os.Getenv(socketVariable)
	if socket == "" {
		const why = "needs a Docker engine: set " + socketVariable + " to the path of its socket"
		if os.Getenv(requireVariable) == "1" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	if strings.Contains(socket, "://") {
		return socket
	}
	return "unix://" + socket
}

// Client returns a client of the engine, closed when the test ends. It skips or fails as [Engine] does.
func Client(t testing.TB) *client.Client {
	t.Helper()
	api, err := client.New(client.WithHost(Engine(t)))
	if err != nil {
		t.Fatalf("make a client of the test engine: %v", err)
	}
	t.Cleanup(func() { _ = api.Close() })
	if _, err := api.Ping(t.Context(), client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		t.Fatalf("the engine of %s=%s does not answer: %v", socketVariable, os.Getenv(socketVariable), err)
	}
	return api
}

// Instance returns a unique name, for the label berth.instance and for the network. All containers,
// volumes and networks with that label are removed when the test ends.
func Instance(t testing.TB) string {
	t.Helper()
	api := Client(t)
	name := "berth-test-" + strings.ToLower(rand.Text()[:12])
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), sweepTimeout)
		defer cancel()
		if err := sweep(ctx, api, name); err != nil {
			t.Errorf("clean up after the test: %v", err)
		}
	})
	return name
}

// sweep removes everything with the instance's label: containers first, because they hold the rest. A test may have made
// fifty of them, on an engine that others use as well.
func sweep(ctx context.Context, api *client.Client, instance string) error {
	mine := client.Filters{}.Add("label", labelInstance+"="+instance)
	var mu sync.Mutex
	var faults []error
	note := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if !errdefs.IsNotFound(err) {
			faults = append(faults, err)
		}
	}
	containers, err := api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: mine})
	note(err)
	var removals errgroup.Group
	removals.SetLimit(sweepAtOnce)
	for _, c := range containers.Items {
		removals.Go(func() error {
			_, err := api.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
			note(err)
			return nil
		})
	}
	_ = removals.Wait()
	volumes, err := api.VolumeList(ctx, client.VolumeListOptions{Filters: mine})
	note(err)
	for _, v := range volumes.Items {
		_, err := api.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{Force: true})
		note(err)
	}
	networks, err := api.NetworkList(ctx, client.NetworkListOptions{Filters: mine})
	note(err)
	for _, n := range networks.Items {
		_, err := api.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{})
		note(err)
	}
	return errors.Join(faults...)
}
