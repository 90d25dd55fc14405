// Package bench_test measures Berth and a baseline in one interleaved run: machines are shared and
// noisy, so that only the ratios are results.
package bench_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"berth/internal/dockertest"
	"berth/internal/postgrestest"
	"berth/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m, postgrestest.Clean)) }

// BenchmarkCreateToFirstAnswer compares the time from the create request to the first response of OpenCode with that of
// direct engine calls. Each iteration does both, in alternating order.
//
//	go test -run '^$' -bench CreateToFirstAnswer -benchtime 7x ./bench
func BenchmarkCreateToFirstAnswer(b *testing.B) {
	image := os.Getenv("BERTH_TEST_OPENCODE_IMAGE")
	if image == "" {
		b.Skip("needs the session image: set BERTH_TEST_OPENCODE_IMAGE to its name")
	}
	w := harness.New(b)
	w.StartServe()
	engine := dockertest.Client(b)
	berthCreate(b, w) // loads the image's pages, and creates the network that both sides use
	var bare, berth []time.Duration
	sides := []func(){
		func() { bare = append(bare, bareCreate(b, engine, w.Instance, image)) },
		func() { berth = append(berth, berthCreate(b, w)) },
	}
	for b.Loop() {
		for _, side := range sides {
			side()
		}
		slices.Reverse(sides)
	}
	b.ReportMetric(median(bare).Seconds(), "s/bare")
	b.ReportMetric(median(berth).Seconds(), "s/berth")
	b.ReportMetric(median(berth).Seconds()/median(bare).Seconds(), "berth/bare")
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func berthCreate(b *testing.B, w *harness.Env) time.Duration {
	begun := time.Now()
	id, token := w.Create(`{}`)
	if a := w.Call(http.MethodGet, "/s/"+id+"/session", token, ""); a.Status != http.StatusOK {
		b.Fatalf("the session answers %s", a)
	}
	took := time.Since(begun)
	if a := w.Call(http.MethodDelete, "/sessions/"+id, w.AdminToken(), ""); a.Status != http.StatusNoContent {
		b.Fatalf("delete: %s", a)
	}
	return took
}

// bareCreate creates the same container through the engine's socket, without Berth and without TLS, and waits for the same
// response in the same way: overlapping attempts, each on a connection of its own.
func bareCreate(b *testing.B, engine *client.Client, instance, image string) time.Duration {
	ctx := b.Context()
	name := fmt.Sprintf("%s-bare-%d", instance, time.Now().UnixNano())
	port := network.MustParsePort("4096/tcp")
	pids, init := int64(512), true
	begun := time.Now()
	made, err := engine.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name: name,
		Config: &container.Config{
			Image: image, User: "10001:10001", Labels: map[string]string{"berth.instance": instance + "-bare"},
			Env:          []string{"OPENCODE_SERVER_PASSWORD=bare", "OPENCODE_CONFIG_CONTENT={\"disabled_providers\":[\"opencode\"]}"},
			ExposedPorts: network.PortSet{port: {}},
		},
		HostConfig: &container.HostConfig{
			CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges"}, ReadonlyRootfs: true, Init: &init,
			NetworkMode: container.NetworkMode(instance),
			Resources:   container.Resources{Memory: 1 << 30, MemorySwap: 1 << 30, CPUQuota: 100_000, CPUPeriod: 100_000, PidsLimit: &pids},
			Tmpfs: map[string]string{
				"/tmp":                        "rw,exec,nosuid,nodev,size=256m,mode=1777",
				"/home/opencode/.local/state": "rw,nosuid,nodev,noexec,size=16m,uid=10001,gid=10001,mode=0700",
				"/home/opencode/.cache":       "rw,nosuid,nodev,noexec,size=64m,uid=10001,gid=10001,mode=0700",
			},
			Mounts: []mount.Mount{
				{Type: mount.TypeVolume, Source: name + "-workspace", Target: "/workspace"},
				{Type: mount.TypeVolume, Source: name + "-state", Target: "/home/opencode/.local/share/opencode"},
			},
			PortBindings: network.PortMap{port: {{HostIP: loopback}}},
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		_, err := engine.ContainerRemove(context.WithoutCancel(ctx), made.ID, client.ContainerRemoveOptions{Force: true})
		if err != nil {
			b.Error(err)
		}
		for _, volume := range []string{"-workspace", "-state"} {
			if _, err := engine.VolumeRemove(context.WithoutCancel(ctx), name+volume, client.VolumeRemoveOptions{Force: true}); err != nil {
				b.Error(err)
			}
		}
	}()
	if _, err := engine.ContainerStart(ctx, made.ID, client.ContainerStartOptions{}); err != nil {
		b.Fatal(err)
	}
	found, err := engine.ContainerInspect(ctx, made.ID, client.ContainerInspectOptions{})
	if err != nil {
		b.Fatal(err)
	}
	address := "http://127.0.0.1:" + found.Container.NetworkSettings.Ports[port][0].HostPort
	firstAnswer(b, address+"/global/health", "/session")
	return time.Since(begun)
}

// firstAnswer returns when both paths have returned 200, one after the other.
func firstAnswer(b *testing.B, address, then string) {
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	answered := make(chan struct{}, 1000)
	base := address[:len(address)-len("/global/health")]
	for {
		go func() {
			if get(ctx, address) && get(ctx, base+then) {
				answered <- struct{}{}
			}
		}()
		select {
		case <-answered:
			return
		case <-time.After(150 * time.Millisecond):
		case <-ctx.Done():
			b.Fatal("the bare container did not answer within a minute")
		}
	}
}

func get(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return false
	}
	req.SetBasicAuth("opencode", "bare")
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err == nil && resp.StatusCode == http.StatusOK
}
