package dockerd

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"berth/test/harness"
)

const peerImage = "berth-test/peer"

// TestContainersKeepTheirNetwork runs containers on an engine that was set up: they have a network, their published ports
// answer, peers of a network without inter-container communication stay apart, and none reaches the engine.
func TestContainersKeepTheirNetwork(t *testing.T) {
	t.Parallel()
	dir, inside := harness.Isolated(t)
	if !inside {
		return
	}
	e := newEngine(t, dir)
	const address = "10.77.0.1:2376" // an address of the host that containers have a way to
	if out, err := exec.CommandContext(t.Context(), "ip", "address", "add", "10.77.0.1/32", "dev", "lo").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	withListen := func(noFirewall bool) *Setup {
		o := e.options(t)
		o.Listen, o.NoFirewall = []netip.AddrPort{netip.MustParseAddrPort(tlsAddress), netip.MustParseAddrPort(address)}, noFirewall
		s, err := New(e.host(), o)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	mustApply(t, withListen(true))

	api, err := client.New(client.WithHost("unix://" + e.socket))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Close() })
	importPeer(t, api)
	made, err := api.NetworkCreate(t.Context(), "apart", client.NetworkCreateOptions{Driver: "bridge", Options: map[string]string{"com.docker.network.bridge.enable_icc": "false"}})
	if err != nil {
		t.Fatal(err)
	}
	one, two := startPeer(t, api, "apart"), startPeer(t, api, "apart")
	usual := startPeer(t, api, "bridge")
	for name, p := range map[string]peer{"sessions' network": one, "default network": usual} {
		if got := p.get(t, "/"); got != "here" {
			t.Errorf("published port of a container on the %s: got %q, want an answer", name, got)
		}
	}
	if got := one.get(t, "/dial?to="+two.address+":8080"); got == "connected" {
		t.Error("a container reached its neighbour on a network without inter-container communication")
	}
	for name, p := range map[string]peer{"sessions' network": one, "default network": usual} {
		if got := p.get(t, "/dial?to="+address); got != "connected" {
			t.Fatalf("without the firewall rule a container on the %s cannot reach the engine (%s): this test shows nothing", name, got)
		}
	}

	s := withListen(false)
	mustApply(t, s)
	for name, p := range map[string]peer{"sessions' network": one, "default network": usual} {
		if got := p.get(t, "/dial?to="+address); got == "connected" {
			t.Errorf("a container on the %s reached the engine's port", name)
		}
		// It lived through the restart, and its port with it.
		if got := p.get(t, "/"); got != "here" {
			t.Errorf("published port of a container on the %s after the restart: got %q, want an answer", name, got)
		}
	}
	if err := s.Verify(t.Context()); err != nil {
		t.Errorf("the rule locks the machine itself out: %v", err)
	}
	for _, p := range []peer{one, two, usual} {
		if _, err := api.ContainerRemove(t.Context(), p.id, client.ContainerRemoveOptions{Force: true}); err != nil {
			t.Error(err)
		}
	}
	if _, err := api.NetworkRemove(t.Context(), made.ID, client.NetworkRemoveOptions{}); err != nil {
		t.Error(err)
	}
}

// peer is a container that runs testdata/peer.
type peer struct {
	id, address, published string
}

func startPeer(t *testing.T, api *client.Client, on string) peer {
	t.Helper()
	port := network.MustParsePort("8080/tcp")
	made, err := api.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Config: &container.Config{Image: peerImage, ExposedPorts: network.PortSet{port: {}}},
		HostConfig: &container.HostConfig{
			NetworkMode: container.NetworkMode(on), CapDrop: []string{"ALL"},
			PortBindings: network.PortMap{port: {{HostIP: netip.MustParseAddr("127.0.0.1")}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = api.ContainerRemove(context.WithoutCancel(t.Context()), made.ID, client.ContainerRemoveOptions{Force: true})
	})
	if _, err := api.ContainerStart(t.Context(), made.ID, client.ContainerStartOptions{}); err != nil {
		t.Fatal(err)
	}
	seen, err := api.ContainerInspect(t.Context(), made.ID, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	bound := seen.Container.NetworkSettings.Ports[port]
	if len(bound) != 1 {
		t.Fatalf("published ports on the network %s: %v, want one", on, seen.Container.NetworkSettings.Ports)
	}
	return peer{made.ID, seen.Container.NetworkSettings.Networks[on].IPAddress.String(), "127.0.0.1:" + bound[0].HostPort}
}

// get asks the container through its published port, until it listens.
func (p peer) get(t *testing.T, path string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		text, err := fetch(ctx, "http://"+p.published+path)
		if err == nil {
			return text
		}
		select {
		case <-ctx.Done():
			return err.Error()
		case <-tick.C:
		}
	}
}

func fetch(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func importPeer(t *testing.T, api *client.Client) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "peer")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", program, "./testdata/peer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build peer: %v\n%s", err, out)
	}
	data := read(t, program)
	var layer bytes.Buffer
	archive := tar.NewWriter(&layer)
	if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "peer", Mode: 0o755, Size: int64(len(data))}); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	imported, err := api.ImageImport(t.Context(), client.ImageImportSource{Source: &layer, SourceName: "-"}, peerImage,
		client.ImageImportOptions{Changes: []string{`ENTRYPOINT ["/peer"]`}})
	if err != nil {
		t.Fatal(err)
	}
	defer imported.Close()
	if out, err := io.ReadAll(imported); err != nil || strings.Contains(string(out), "error") {
		t.Fatal(fmt.Errorf("import peer: %w: %s", err, out))
	}
}
