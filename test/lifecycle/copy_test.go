package lifecycle_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/test/harness"
)

// A copy of a state directory would manage the same processes as the original.
func TestCopiedStateDirectoryWithProcessRuntimeIsRefused(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.start()
	w.waitForNotification("READY=1")
	id, token := w.create()
	state, copied := filepath.Join(w.dir, "state"), filepath.Join(w.dir, "copy")
	if out, err := exec.Command("cp", "-a", state, copied).CombinedOutput(); err != nil {
		t.Fatalf("copy the state: %v\n%s", err, out)
	}
	second := exec.CommandContext(t.Context(), harness.Binary(t), "serve")
	second.Env = append(w.env, "BERTH_STATE_DIR="+copied, "BERTH_LISTEN=127.0.0.1:0")
	said := make(chan string, 1)
	go func() { out, _ := second.CombinedOutput(); said <- string(out) }()
	select {
	case out := <-said:
		if !strings.Contains(out, copied+" is a copy of "+state) {
			t.Errorf("the copy exited with %q, want the original named", out)
		}
	case <-time.After(20 * time.Second):
		_ = second.Process.Signal(os.Kill)
		t.Fatal("the copy was not refused")
	}
	if status, _, err := w.call(t.Context(), http.DefaultClient, http.MethodGet, "/s/"+id+"/global/health", token); err != nil || status != http.StatusOK {
		t.Errorf("the session of the original: got %d, %v; want it served", status, err)
	}
}
