package dockertest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"berth/internal/session"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

const (
	stubVariable = "BERTH_TEST_STUB"

	stubPort = 4096
	stubUser = 10001 // user and group, as in the session image
	layout   = 4     // of the image's directories; one more with each change
)

// StubProfile returns a profile with an image of test/stubserver. The image is made on the test engine, from the program
// alone, when this version of it is first needed. It skips or fails as [Engine] does.
func StubProfile(t testing.TB) session.Profile {
	t.Helper()
	api := Client(t)
	source := stubSource(t)
	reference := "berth-test/stub:" + sourceDigest(t, source)
	makeOnce(t, reference, func() {
		_, err := api.ImageInspect(t.Context(), reference)
		if err == nil {
			return
		}
		if !errdefs.IsNotFound(err) {
			t.Fatalf("look for image %s: %v", reference, err)
		}
		importImage(t, api, reference, BuildStub(t))
	})
	return session.Profile{
		Image:       reference,
		Port:        stubPort,
		UID:         stubUser,
		GID:         stubUser,
		Env:         map[string]string{"STUB_STATE": "/state"},
		MinMem:      16 << 20,
		Username:    "opencode",
		PasswordEnv: "OPENCODE_SERVER_PASSWORD",
		Ready:       session.Probe{Path: "/global/health", Member: "healthy", Then: "/path"},
		Volumes: []session.Volume{
			{Name: session.WorkspaceVolume, Path: "/workspace"},
			{Name: "state", Path: "/state"},
		},
		Tmpfs: []session.Tmpfs{
			{Path: "/tmp", Size: 16 << 20, Mode: "1777", Exec: true},
			{Path: "/run", Size: 1 << 20, Own: true},
		},
		Silent: []string{"/session/*/message"},
	}
}

// BuildStub returns the path of test/stubserver as a static program of this test alone. It is built, unless BERTH_TEST_STUB
// names one. At the end of the test the program is removed and its processes are killed: sessions keep running when a test
// stops Berth.
func BuildStub(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stubserver")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", path, ".")
	if built := os.Getenv(stubVariable); built != "" {
		if os.Link(built, path) == nil {
			t.Cleanup(func() { killAll(t, path) })
			return path
		}
		// Another process writes it: a file that this one has open for writing could not be run.
		cmd = exec.CommandContext(t.Context(), "cp", built, path)
	}
	cmd.Dir = stubSource(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make the stub server: %v\n%s", err, out)
	}
	t.Cleanup(func() { killAll(t, path) })
	return path
}

// killAll kills every process of a program and waits until they have ended.
func killAll(t testing.TB, program string) {
	for deadline := time.Now().Add(5 * time.Second); ; <-time.After(10 * time.Millisecond) {
		alive := 0
		links, _ := filepath.Glob("/proc/[0-9]*/exe") // the pattern is right
		for _, link := range links {
			if target, err := os.Readlink(link); err != nil || target != program {
				continue
			}
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
			if err == nil && syscall.Kill(pid, syscall.SIGKILL) == nil {
				alive++
			}
		}
		if alive == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%d processes of %s do not end", alive, program)
			return
		}
	}
}

// stubSource finds test/stubserver from the directory of the running test, which is that of its package.
func stubSource(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatalf("find the module: %v", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "test", "stubserver")
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("find the module: no go.mod in any parent directory")
		}
		dir = parent
	}
}

// sourceDigest names a version of the stub: its source, the compiler, the architecture and the image's layout.
func sourceDigest(t testing.TB, source string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(source, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("read the stub server's source in %s: %d files, %v", source, len(files), err)
	}
	slices.Sort(files)
	digest := sha256.New()
	fmt.Fprintln(digest, runtime.Version(), runtime.GOARCH, stubChanges(), stubUser, layout)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatalf("read the stub server's source: %v", err)
		}
		fmt.Fprintln(digest, filepath.Base(file), len(data))
		digest.Write(data)
	}
	return hex.EncodeToString(digest.Sum(nil))[:12]
}

// makeOnce makes one image at a time on this machine: test programs run concurrently.
func makeOnce(t testing.TB, reference string, build func()) {
	t.Helper()
	name := sha256.Sum256([]byte(reference))
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "berth-test-"+hex.EncodeToString(name[:6])+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatalf("lock image %s: %v", reference, err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatalf("lock image %s: %v", reference, err)
	}
	build()
}

func stubChanges() []string {
	return []string{
		`ENTRYPOINT ["/stubserver"]`,
		"ENV STUB_IMAGE=1",
		"WORKDIR /workspace",
		fmt.Sprintf("EXPOSE %d", stubPort),
		"LABEL berth.test=stub",
	}
}

// importImage makes an image of one layer with the program and the directories that sessions write to.
func importImage(t testing.TB, api *client.Client, reference, program string) {
	t.Helper()
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatalf("read the stub server: %v", err)
	}
	var layer bytes.Buffer
	archive := tar.NewWriter(&layer)
	add := func(h tar.Header, content []byte) {
		h.Size = int64(len(content))
		if err := archive.WriteHeader(&h); err != nil {
			t.Fatalf("write the image's %s: %v", h.Name, err)
		}
		if _, err := archive.Write(content); err != nil {
			t.Fatalf("write the image's %s: %v", h.Name, err)
		}
	}
	for _, dir := range []string{"etc/", "proc/", "sys/", "dev/", "usr/", "run/"} {
		add(tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}, nil)
	}
	add(tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}, nil)
	for _, dir := range []string{"workspace/", "state/"} {
		add(tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o700, Uid: stubUser, Gid: stubUser}, nil)
	}
	add(tar.Header{Typeflag: tar.TypeReg, Name: "stubserver", Mode: 0o755}, data)
	add(tar.Header{Typeflag: tar.TypeDir, Name: "bin/", Mode: 0o755}, nil)
	for _, program := range []string{"bin/cp", "bin/chmod"} {
		add(tar.Header{Typeflag: tar.TypeSymlink, Name: program, Linkname: "/stubserver", Mode: 0o777}, nil)
	}
	if err := archive.Close(); err != nil {
		t.Fatalf("finish the image: %v", err)
	}
	result, err := api.ImageImport(t.Context(),
		client.ImageImportSource{Source: &layer, SourceName: "-"}, reference,
		client.ImageImportOptions{Changes: stubChanges()})
	if err != nil {
		t.Fatalf("import image %s: %v", reference, err)
	}
	defer result.Close()
	if _, err := io.Copy(io.Discard, result); err != nil {
		t.Fatalf("import image %s: %v", reference, err)
	}
	if _, err := api.ImageInspect(t.Context(), reference); err != nil {
		t.Fatalf("import image %s: it is not there: %v", reference, err)
	}
}
