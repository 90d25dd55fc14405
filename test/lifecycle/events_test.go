package lifecycle_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/test/harness"
)

// The command shows past events, and with --follow new ones until Ctrl-C.
func TestEventsCommandShowsTimeline(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.start()
	w.waitForNotification("READY=1")
	id, _ := w.create()
	command := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), harness.Binary(t), append([]string{"session", "events", id, "--url", "http://" + w.address}, args...)...)
		cmd.Env = w.env
		return cmd
	}
	out, err := command().CombinedOutput()
	for _, want := range []string{"EVENT", "created", "ready", "operator"} {
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("got %v without %s in\n%s", err, want, out)
		}
	}

	follow := command("--follow", "--output", "json")
	pipe, err := follow.StdoutPipe()
	harness.Must(t, err)
	harness.Must(t, follow.Start())
	lines, events := bufio.NewScanner(pipe), make(chan string, 10)
	go func() {
		for lines.Scan() {
			var m struct{ What string }
			_ = json.Unmarshal(lines.Bytes(), &m)
			events <- m.What
		}
		close(events)
	}()
	expect := func(want string) {
		t.Helper()
		select {
		case got := <-events:
			if got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%q was not printed within 10 s", want)
		}
	}
	expect("created")
	expect("ready")
	if status, _, err := w.call(t.Context(), http.DefaultClient, http.MethodPost, "/sessions/"+id+"/stop", w.admin()); err != nil || status != http.StatusOK {
		t.Fatalf("stop: got %d, %v", status, err)
	}
	expect("stopped")
	harness.Must(t, follow.Process.Signal(syscall.SIGINT))
	for range events { // until the command has exited
	}
	if err := follow.Wait(); err != nil {
		t.Errorf("ended by Ctrl-C: got %v, want exit code 0", err)
	}
}
