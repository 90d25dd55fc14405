package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/internal/process"
	"berth/internal/session"
	"berth/internal/waittest"
)

func TestServersSurviveCloseAndAreAdopted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := process.Open(t.Context(), process.Options{Dir: dir, Instance: "test"})
	if err != nil {
		t.Fatal(err)
	}
	s := spec("a")
	before := serve(t, first, s)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if ask(t, s, before.Address, "GET", "/path") == nil {
		t.Fatal("the server does not answer, want it to run after Close")
	}

	second := open(t, dir)
	after := inspect(t, second, "a")
	if after.ID != before.ID || after.Address != before.Address || after.State != session.StateRunning || !after.StartedAt.Equal(before.StartedAt) {
		t.Errorf("got %+v, want %+v", after, before)
	}
	ends := make(chan session.RuntimeEvent, 8)
	ctx, cancel := context.WithCancel(t.Context())
	ready, watched := make(chan struct{}), make(chan error, 1)
	go func() {
		watched <- second.Watch(ctx, func() { close(ready) }, func(e session.RuntimeEvent) { ends <- e })
	}()
	<-ready
	ask(t, s, after.Address, "POST", "/exit?code=7")
	select {
	case e := <-ends:
		if e.Action != session.ActionEnded || e.Container != before.ID || e.Session != s.Session {
			t.Errorf("got %+v, want the end of container %s", e, before.ID)
		}
	case <-time.After(2 * time.Second):
		t.Error("no event within 2s of the end of an adopted server")
	}
	cancel()
	if err := <-watched; !errors.Is(err, context.Canceled) {
		t.Errorf("watch: got %v, want context.Canceled", err)
	}
}

// beKilled starts a container in dir and waits to be killed.
func beKilled(dir string) int {
	ctx := context.Background()
	stub = os.Getenv(stubVariable)
	r, err := process.Open(ctx, process.Options{Dir: dir, Instance: "test"})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	s := spec("a")
	s.Credential = session.Secret(os.Getenv("BERTH_TEST_CREDENTIAL"))
	if _, err := r.Create(ctx, s); err != nil {
		fmt.Println(err)
		return 1
	}
	if err := r.Start(ctx, "a"); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("started")
	<-ctx.Done()
	return 0
}

// afterKill lets another process start a container, kills that process, and returns the directory, and the specification and
// address of the server, which keeps running.
func afterKill(t *testing.T) (string, session.Spec, string) {
	t.Helper()
	dir := t.TempDir()
	s := spec("a")
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), helperDir+"="+dir, stubVariable+"="+stub, "BERTH_TEST_CREDENTIAL="+s.Credential.Reveal())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 1024)
	n, _ := out.Read(said)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if got := strings.TrimSpace(string(said[:n])); got != "started" {
		t.Fatalf("the other process said %q, want that it has started a container", got)
	}
	address := fmt.Sprintf("127.0.0.1:%v", record(t, dir)["port"])
	waittest.True(t, "the server answers", func() bool { return ask(t, s, address, "GET", "/path") != nil })
	return dir, s, address
}

func record(t *testing.T, dir string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "containers", "a", "container.json"))
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := json.Unmarshal(text, &object); err != nil {
		t.Fatal(err)
	}
	return object
}

func TestServerSurvivesKilledBerthAndIsRecreated(t *testing.T) {
	t.Parallel()
	dir, s, address := afterKill(t)
	r := open(t, dir)
	c := inspect(t, r, "a")
	if c.State != session.StateRunning || c.Address != address {
		t.Fatalf("got %+v, want it running at %s", c, address)
	}
	ask(t, s, address, "POST", "/session")
	if err := r.Stop(t.Context(), "a", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if c = inspect(t, r, "a"); c.State != session.StateDead || c.ExitCode != -1 {
		t.Errorf("got %q with code %d, want %q with -1: its credential and exit code are not known", c.State, c.ExitCode, session.StateDead)
	}
	if err := r.Start(t.Context(), "a"); session.CodeOf(err) != session.CodeStartFailed {
		t.Errorf("start: got %v, want code %q: without a password the server would be open", err, session.CodeStartFailed)
	}
	if err := r.Remove(t.Context(), "a", false); err != nil {
		t.Fatal(err)
	}
	serve(t, r, s)
	kept, err := os.ReadFile(filepath.Join(dir, "volumes", "a", "state", "sessions.json"))
	if err != nil || !strings.Contains(string(kept), "ses_") {
		t.Errorf("got %q (%v), want the first server's state", kept, err)
	}
}

func TestServerEndWithoutBerthIsDetected(t *testing.T) {
	t.Parallel()
	dir, s, address := afterKill(t)
	ask(t, s, address, "POST", "/exit?code=7")
	waittest.True(t, "the end of the server", func() bool { return ask(t, s, address, "GET", "/path") == nil })
	c := inspect(t, open(t, dir), "a")
	if c.State != session.StateDead || c.ExitCode != -1 || c.Address != "" || c.FinishedAt.IsZero() {
		t.Errorf("got %+v, want it dead with code -1", c)
	}
}

func TestInterruptedStartIsUndone(t *testing.T) {
	t.Parallel()
	dir, s, address := afterKill(t)
	object := record(t, dir)
	object["process"], object["started_at"] = nil, time.Time{} // as before the start was recorded
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "containers", "a", "container.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	r := open(t, dir)
	waittest.True(t, "the end of the unrecorded server", func() bool { return ask(t, s, address, "GET", "/path") == nil })
	if got := inspect(t, r, "a").State; got != session.StateDead {
		t.Errorf("got %q, want %q", got, session.StateDead)
	}
}

func TestReusedProcessIDIsNotAdopted(t *testing.T) {
	t.Parallel()
	dir, s, address := afterKill(t)
	object := record(t, dir)
	process, _ := object["process"].(map[string]any)
	pid, _ := process["pid"].(float64)
	process["pid"] = os.Getpid() // a running process that must not be killed, with another start time
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "containers", "a", "container.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := inspect(t, open(t, dir), "a").State; got != session.StateDead {
		t.Errorf("got %q, want %q: the process with its ID is another one", got, session.StateDead)
	}
	waittest.True(t, "the end of the unrecorded server", func() bool { return !alive(t, int(pid)) && ask(t, s, address, "GET", "/path") == nil })
}

func TestOpenUndoesInterruptedOperations(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, sub := range []string{"containers/half-made", "trash/half-removed/home"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	all, err := open(t, dir).List(t.Context())
	if err != nil || len(all) != 0 {
		t.Errorf("got %v (%v), want no container", all, err)
	}
	for _, sub := range []string{"containers", "trash"} {
		if left, err := os.ReadDir(filepath.Join(dir, sub)); err != nil || len(left) != 0 {
			t.Errorf("%s: got %v (%v), want nothing left", sub, left, err)
		}
	}
}

func TestOpenRefusesDamagedRecord(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"truncated": `{"id":"1","na`, "another one's": `{"id":"1","name":"b"}`} {
		dir := t.TempDir()
		file := filepath.Join(dir, "containers", "a", "container.json")
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := process.Open(t.Context(), process.Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: got %v, %v, want an error that names %s", name, r, err, file)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != text {
			t.Errorf("%s: got %q (%v), want the record untouched", name, got, err)
		}
	}
}

func TestContainersOfOtherInstallationsAreKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ours := open(t, dir)
	if _, err := ours.Create(t.Context(), spec("a")); err != nil {
		t.Fatal(err)
	}
	if err := ours.Close(); err != nil {
		t.Fatal(err)
	}
	theirs := openWith(t, process.Options{Dir: dir, Instance: "another"})
	if all, err := theirs.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("got %v (%v), want none of the other installation's", all, err)
	}
	if _, err := theirs.Create(t.Context(), spec("a")); session.CodeOf(err) != session.CodeConflict {
		t.Errorf("got %v, want code %q: the name is taken", err, session.CodeConflict)
	}
	for what, err := range map[string]error{
		"stop": theirs.Stop(t.Context(), "a", time.Second), "remove": theirs.Remove(t.Context(), "a", true), "remove volumes": theirs.RemoveVolumes(t.Context(), "a"),
	} {
		if session.CodeOf(err) != session.CodeConflict {
			t.Errorf("%s: got %v, want code %q: it exists and is kept", what, err, session.CodeConflict)
		}
	}
	if volumes, err := os.ReadDir(filepath.Join(dir, "volumes", "a")); err != nil || len(volumes) == 0 {
		t.Errorf("got the volumes %v (%v), want them kept", volumes, err)
	}
}
