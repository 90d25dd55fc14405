package guard

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/internal/dockertest"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// TestRealEngineThroughTheGuard uploads an image, attaches to a container of it, sends a line and the end of input, and
// expects the line back: echo hi | docker run -i, all of it through the guard.
func TestRealEngineThroughTheGuard(t *testing.T) {
	t.Parallel()
	socket := dockertest.Engine(t)
	if !strings.HasPrefix(socket, "unix://") {
		t.Skipf("the guard stands before a unix socket; BERTH_TEST_DOCKER_SOCKET names %s", socket)
	}
	instance := dockertest.Instance(t)
	w := startGuard(t, socket)
	transport := &http.Transport{TLSClientConfig: w.tls(t)}
	api, err := client.New(client.WithHost("tcp://"+w.address),
		client.WithHTTPClient(&http.Client{Transport: transport, CheckRedirect: client.CheckRedirect}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := api.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	image := instance + ":cat"
	imported, err := api.ImageImport(ctx, client.ImageImportSource{Source: catImage(t), SourceName: "-"}, image,
		client.ImageImportOptions{Changes: []string{`ENTRYPOINT ["/cat"]`}})
	if err != nil {
		t.Fatalf("import: %v", err)
	}
	defer imported.Close()
	if _, err := io.Copy(io.Discard, imported); err != nil {
		t.Fatalf("import: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		if _, err := api.ImageRemove(ctx, image, client.ImageRemoveOptions{Force: true}); err != nil {
			t.Errorf("remove the image: %v", err)
		}
	})
	made, err := api.ContainerCreate(ctx, client.ContainerCreateOptions{
		Config: &container.Config{
			Image: image, OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true,
			Labels: map[string]string{"berth.instance": instance},
		},
		HostConfig: &container.HostConfig{NetworkMode: "none"},
	})
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	// The image is removed after the container, so the container cannot wait for the final clean-up.
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		if _, err := api.ContainerRemove(ctx, made.ID, client.ContainerRemoveOptions{Force: true}); err != nil {
			t.Errorf("remove the container: %v", err)
		}
	})
	attached, err := api.ContainerAttach(ctx, made.ID, client.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true})
	if err != nil {
		t.Fatalf("attach: %v", err)
	}
	defer attached.Close()
	if _, err := api.ContainerStart(ctx, made.ID, client.ContainerStartOptions{}); err != nil {
		t.Fatalf("start: %v", err)
	}
	if _, err := io.WriteString(attached.Conn, "hi\n"); err != nil {
		t.Fatal(err)
	}
	if err := attached.CloseWrite(); err != nil {
		t.Fatalf("end the input: %v", err)
	}
	if err := attached.Conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var output, errors bytes.Buffer
	if _, err := stdcopy.StdCopy(&output, &errors, attached.Reader); err != nil || output.String() != "hi\n" {
		t.Errorf("got %q, %v (errors %q); want the line back", output.String(), err, errors.String())
	}
}

// catImage is the layer of an image that has only testdata/cat.
func catImage(t *testing.T) io.Reader {
	t.Helper()
	program := filepath.Join(t.TempDir(), "cat")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", program, "./testdata/cat")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build cat: %v\n%s", err, out)
	}
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	archive := tar.NewWriter(&layer)
	if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "cat", Mode: 0o755, Size: int64(len(data))}); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return &layer
}
