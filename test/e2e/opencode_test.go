package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"berth/internal/config"
	"berth/internal/session"
	"berth/test/harness"
)

// opencodeEnv runs sessions of the real OpenCode.
func opencodeEnv(t *testing.T) *fixture {
	t.Helper()
	harness.OpenCodeImage(t)
	w := newWorld(t)
	w.Vars["SESSION_ROUTE"] = "published" // the small server's tests go by the network
	profile := config.Default().Profiles["opencode"]
	profile.Egress = session.EgressOpen // an internal network publishes no ports
	w.Profiles(map[string]session.Profile{"opencode": profile})
	w.StartServe()
	return w
}

// One real session does all of this, because OpenCode takes seconds and gigabytes to start.
func TestOpenCodeThroughGuardAndProxy(t *testing.T) {
	t.Parallel()
	w := opencodeEnv(t)
	id, token := w.Create(fmt.Sprintf(`{"owner":"alice","image":%q}`, harness.OpenCodeImage(t)))
	base := "/s/" + id

	t.Run("health is that of OpenCode", func(t *testing.T) {
		a := w.Call(http.MethodGet, base+"/global/health", token, "")
		var health struct {
			Healthy bool
			Version string
		}
		if err := json.Unmarshal(a.Body, &health); err != nil || !health.Healthy || health.Version == "" {
			t.Errorf("got %s, want the JSON of a healthy server with a version", a)
		}
	})
	t.Run("the new workspace is a project of its own, in git", func(t *testing.T) {
		a := w.Call(http.MethodGet, base+"/project/current?directory=/workspace", token, "")
		var project struct{ Worktree, VCS string }
		if err := json.Unmarshal(a.Body, &project); err != nil || project.Worktree != "/workspace" || project.VCS != "git" {
			t.Errorf("got %s, want the worktree /workspace and the vcs git", a)
		}
	})
	t.Run("an OpenCode session is created and its event arrives unbuffered", func(t *testing.T) {
		events := w.follow(t, base+"/event", token)
		events.await(t, "server.connected")
		a := w.Call(http.MethodPost, base+"/session", token, `{"title":"first"}`)
		if a.Status != http.StatusOK || !strings.HasPrefix(a.Field("id"), "ses_") {
			t.Fatalf("create an OpenCode session: got %s", a)
		}
		events.await(t, a.Field("id")) // while the stream is still open: nothing held it back
	})
	t.Run("a terminal echoes over WebSocket", func(t *testing.T) { w.terminalEchoes(t, base, token) })
	t.Run("the server itself refuses who has no credential", func(t *testing.T) {
		shown := w.Call(http.MethodGet, "/sessions/"+id, w.AdminToken(), "")
		var fields struct{ Port int }
		harness.Must(t, json.Unmarshal(shown.Body, &fields))
		for _, path := range []string{"/global/health", "/session", "/"} {
			resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", fields.Port, path))
			harness.Must(t, err)
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s on the published port without a password: got %s, want 401", path, resp.Status)
			}
		}
	})
	t.Run("the configuration is root's and no npm runs inside", func(t *testing.T) {
		said := w.shell(t, base, token, `cd ~/.config/opencode && stat -c '%U %a' . && ls -A && (touch x 2>&1 || true) && id -u && ls -A ~`)
		for _, want := range []string{"root 755", ".gitignore", "opencode.jsonc", "Read-only file system", "10001"} {
			if !strings.Contains(said, want) {
				t.Errorf("want %q in:\n%s", want, said)
			}
		}
		for _, bad := range []string{"node_modules", ".npm", "uid=0"} {
			if strings.Contains(said, bad) {
				t.Errorf("%s is there:\n%s", bad, said)
			}
		}
	})
	t.Run("a command that is silent for longer than the read time-out passes", func(t *testing.T) {
		if said := w.shell(t, base, token, "sleep 33 && echo finished-$((40+2))"); !strings.Contains(said, "finished-42") {
			t.Errorf("got %.300s, want the command's output", said)
		}
	})
	t.Run("the session's own upgrade is not for its users", func(t *testing.T) {
		if a := w.Call(http.MethodPost, base+"/global/upgrade", token, `{"target":"latest"}`); a.Status != http.StatusForbidden {
			t.Errorf("got %s, want 403", a)
		}
	})
	t.Run("no default provider, so that no prompt leaves the machine unasked", func(t *testing.T) {
		a := w.Call(http.MethodGet, base+"/config/providers", token, "")
		if a.Status != http.StatusOK || strings.Contains(string(a.Body), `"id":"opencode"`) {
			t.Errorf("got %.300s, want providers without opencode", a)
		}
	})
	t.Run("the container is hardened", func(t *testing.T) {
		w.checkHardening(t, id, session.Limits{Memory: 1 << 30, CPUs: session.OneCPU, Processes: 512})
	})
	t.Run("files and OpenCode's history survive a restart of the session", func(t *testing.T) {
		before := w.Call(http.MethodGet, base+"/session", token, "")
		if a := w.Call(http.MethodPost, "/sessions/"+id+"/restart", w.AdminToken(), ""); a.Status != http.StatusOK {
			t.Fatalf("restart: got %s", a)
		}
		after := w.Call(http.MethodGet, base+"/session", token, "")
		if after.Status != http.StatusOK || len(after.Body) < 10 || string(after.Body) != string(before.Body) {
			t.Errorf("OpenCode's sessions were %s and are now %s", before, after)
		}
	})
	t.Run("Berth finds the session again after its own restart", func(t *testing.T) {
		w.Serve.Signal(os.Interrupt)
		w.StartServe()
		if a := w.Call(http.MethodGet, base+"/global/health", token, ""); a.Status != http.StatusOK {
			t.Errorf("got %s, want the session to answer to the same token", a)
		}
	})
	t.Run("deleting removes container and volumes", func(t *testing.T) {
		if a := w.Call(http.MethodDelete, "/sessions/"+id, w.AdminToken(), ""); a.Status != http.StatusNoContent {
			t.Fatalf("delete: got %s", a)
		}
		w.nothingLeft(t)
	})
}

// shell runs a command through OpenCode and returns the answer, which comes when the command has finished.
func (w *fixture) shell(t *testing.T, base, token, command string) string {
	t.Helper()
	made := w.Call(http.MethodPost, base+"/session", token, `{}`)
	body, err := json.Marshal(map[string]any{
		"agent": "build", "model": map[string]string{"providerID": "opencode", "modelID": "none"}, "command": command,
	})
	harness.Must(t, err)
	a := w.Call(http.MethodPost, base+"/session/"+made.Field("id")+"/shell", token, string(body))
	if a.Status != http.StatusOK {
		t.Fatalf("run a command: got %s", a)
	}
	return string(a.Body)
}

// stream is an event stream whose events arrive in a channel.
type stream struct {
	events chan string
}

func (w *fixture) follow(t *testing.T, path, token string) stream {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.URL+path, nil)
	harness.Must(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	harness.Must(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		t.Fatalf("got %s %s, want an event stream", resp.Status, resp.Header.Get("Content-Type"))
	}
	s := stream{events: make(chan string, 1000)}
	go func() {
		defer close(s.events)
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				s.events <- data
			}
		}
	}()
	return s
}

// await waits for an event that holds the text. Heartbeats come every 10 s: a proxy that held events back until the
// next one would be found out by the time-out.
func (s stream) await(t *testing.T, text string) {
	t.Helper()
	timeout := time.After(5 * time.Second)
	for {
		select {
		case event, ok := <-s.events:
			if !ok {
				t.Fatalf("the stream ended before an event with %q", text)
			}
			if strings.Contains(event, text) {
				return
			}
		case <-timeout:
			t.Fatalf("no event with %q within 5 s", text)
		}
	}
}

func (w *fixture) terminalEchoes(t *testing.T, base, token string) {
	made := w.Call(http.MethodPost, base+"/pty", token, `{"command":"/bin/bash","args":["--norc"],"title":"t"}`)
	if made.Status != http.StatusOK {
		t.Fatalf("create a terminal: got %s; /tmp must allow programs", made)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(w.URL, "http")+base+"/pty/"+made.Field("id")+"/connect",
		&websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
	if err != nil {
		t.Fatalf("connect to the terminal: %v", err)
	}
	defer conn.CloseNow()
	if err := conn.Write(ctx, websocket.MessageText, []byte("echo berth-$((6*7))\n")); err != nil {
		t.Fatal(err)
	}
	var seen strings.Builder
	for !strings.Contains(seen.String(), "berth-42") {
		_, data, err := conn.Read(ctx)
		if err != nil {
			t.Fatalf("read from the terminal: %v; so far: %q", err, seen.String())
		}
		seen.Write(data)
	}
}
