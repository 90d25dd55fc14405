package e2e_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"berth/internal/dockertest"
	"berth/internal/doctor"
	"berth/test/harness"
)

// stubEnv runs sessions of the small test server.
func stubEnv(t *testing.T) *fixture {
	t.Helper()
	return &fixture{harness.NewStub(t)}
}

func TestSixSessionsAtOnceAllRun(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	w.StartServe()
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			a, err := w.Try(t.Context(), http.MethodPost, "/sessions", w.AdminToken(), fmt.Sprintf(`{"owner":"user-%d"}`, i))
			if err != nil || a.Status != http.StatusCreated || a.Field("status") != "running" {
				t.Errorf("session %d: got %s, %v; want 201 and running", i, a, err)
				return
			}
			answered, err := w.Try(t.Context(), http.MethodGet, "/s/"+a.Field("session_id")+"/global/health", a.Field("token"), "")
			if err != nil || answered.Status != http.StatusOK {
				t.Errorf("session %d answers %s, %v; want 200", i, answered, err)
			}
		})
	}
	wg.Wait()
	harness.Eventually(t, 30*time.Second, "the operator sees the security audit", func() error {
		a, err := w.Try(t.Context(), http.MethodGet, "/health", w.AdminToken(), "")
		if err != nil {
			return err
		}
		var health struct {
			Audit struct {
				Items []struct{ Check, Status string }
			} `json:"security_audit"`
		}
		if err := json.Unmarshal(a.Body, &health); err != nil {
			return err
		}
		if len(health.Audit.Items) != len(doctor.Checks()) {
			return fmt.Errorf("got %d items, want the %d of the checklist", len(health.Audit.Items), len(doctor.Checks()))
		}
		for _, item := range health.Audit.Items {
			if item.Check == "tls-connection" && item.Status != "pass" {
				t.Errorf("the check of the connection that we use: got %s, want pass", item.Status)
			}
		}
		return nil
	})
}

// The process is killed at a random moment of a create, again and again. Whatever the moment, the next start ends with
// every recorded session running, and no container that no record knows.
func TestKillInTheMiddleOfACreateLosesAndOrphansNothing(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	w.StartServe()
	admin := w.AdminToken()
	acknowledged := map[string]bool{}
	for round := range 8 {
		done := make(chan harness.Answer, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			a, _ := w.Try(ctx, http.MethodPost, "/sessions", admin, "")
			done <- a
		}()
		<-time.After(time.Duration(round) * 90 * time.Millisecond) // a create takes about half a second
		w.Serve.Signal(syscall.SIGKILL)
		if a := <-done; a.Status == http.StatusCreated {
			acknowledged[a.Field("session_id")] = true
		}
		cancel()
		w.StartServe()
	}
	harness.Eventually(t, 60*time.Second, "records and containers agree", func() error {
		all, err := w.Sessions(t.Context())
		if err != nil {
			return err
		}
		known := map[string]bool{}
		for _, s := range all {
			if s.Status != "running" || s.Operation != nil {
				return fmt.Errorf("session %s is %s, operation %v", s.ID, s.Status, s.Operation)
			}
			known["/"+s.Name] = true
			delete(acknowledged, s.ID)
		}
		if len(acknowledged) > 0 {
			return fmt.Errorf("acknowledged and lost: %v", acknowledged)
		}
		running := w.Containers()
		for _, c := range running {
			if !known[c.Names[0]] || c.State != "running" {
				return fmt.Errorf("container %s is %s and known %v", c.Names[0], c.State, known[c.Names[0]])
			}
		}
		if len(running) != len(known) || len(known) == 0 {
			return fmt.Errorf("%d sessions and %d containers", len(known), len(running))
		}
		return nil
	})
}

func TestBadStartsLeaveNothingBehindAndSayWhy(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	w.Vars["SESSION_START_TIMEOUT"] = "120" // the program that exits has to have come to that, on a busy machine too
	w.StartServe()
	admin := w.AdminToken()
	refused := func(body string, status int, code, says string) {
		t.Helper()
		a := w.Call(http.MethodPost, "/sessions", admin, body)
		if a.Status != status || a.Field("code") != code || !strings.Contains(a.Field("detail"), says) ||
			a.Header.Get("Content-Type") != "application/problem+json" || a.Field("request_id") == "" {
			t.Errorf("create with %s: got %s (%s), want %d %s saying %q", body, a, a.Header.Get("Content-Type"), status, code, says)
		}
		if id := a.Field("session_id"); id != "" {
			shown := w.Call(http.MethodGet, "/sessions/"+id, admin, "")
			if shown.Field("status") != "error" || shown.Field("last_error") != a.Field("detail") {
				t.Errorf("the session of %s: got %s, want it in error with %q", body, shown, a.Field("detail"))
			}
		}
		if left := w.Containers(); len(left) != 0 {
			t.Errorf("create with %s left %s in state %s", body, left[0].Names, left[0].State)
		}
	}
	refused(`{"image":"berth-test/no-such-image:1"}`, 422, "image_not_found", "berth-test/no-such-image:1")
	refused(`{"profile":"exit"}`, 502, "start_failed", "code 3")
	refused(`{"profile":"no-such-profile"}`, 422, "invalid_request", "no-such-profile")
	refused(`{"owner":7}`, 422, "invalid_request", "")
	refused(`{"surprise":true}`, 422, "invalid_request", "")
	refused(`{`, 400, "malformed_request", "")

	w.Serve.Signal(os.Interrupt)
	<-w.Serve.Done
	w.Vars["SESSION_START_TIMEOUT"] = "2"
	w.StartServe()
	refused(`{"profile":"mute"}`, 504, "start_timeout", "SESSION_START_TIMEOUT")
	refused(`{"profile":"closed"}`, 504, "start_timeout", "SESSION_START_TIMEOUT")
}

func TestEngineThatIsDown(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	w.StartServe()
	admin := w.AdminToken()
	id, token := w.Create("")

	w.Guard.Signal(syscall.SIGKILL)
	begun := time.Now()
	a := w.Call(http.MethodPost, "/sessions", admin, "")
	if a.Status != http.StatusServiceUnavailable || a.Field("code") != "engine_unavailable" || time.Since(begun) > 20*time.Second {
		t.Errorf("create without an engine: got %s after %s, want 503 engine_unavailable soon", a, time.Since(begun))
	}
	if a := w.Call(http.MethodGet, "/s/"+id+"/global/health", token, ""); a.Status != http.StatusOK {
		t.Errorf("a running session without an engine: got %s, want it served", a)
	}
	if a := w.Call(http.MethodGet, "/health", "", ""); a.Field("status") != "degraded" {
		t.Errorf("health without an engine: got %s, want degraded", a)
	}
	w.Serve.Signal(os.Interrupt)
	p := w.Start("serve-without-engine", w.Vars, "serve")
	<-p.Done
	text, err := os.ReadFile(p.Log)
	harness.Must(t, err)
	if address := strings.TrimPrefix(w.Engine, "tcp://"); p.Cmd.ProcessState.ExitCode() != 6 || !strings.Contains(string(text), address) {
		t.Errorf("serve without an engine: exit code %d, said %s; want 6 and the name of %s", p.Cmd.ProcessState.ExitCode(), text, address)
	}

	w.StartGuard()
	w.StartServe()
	if a := w.Call(http.MethodGet, "/s/"+id+"/global/health", token, ""); a.Status != http.StatusOK {
		t.Errorf("the session after the outage: got %s, want 200", a)
	}
	failed := a.Field("session_id")
	if a := w.Call(http.MethodDelete, "/sessions/"+failed, admin, ""); a.Status != http.StatusNoContent {
		t.Errorf("delete of the session that failed: got %s", a)
	}
	if all := w.Containers(); len(all) != 1 {
		t.Errorf("got %d containers, want the one that runs", len(all))
	}
}

func TestEngineThatHangs(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	w.StartServe()
	id, token := w.Create("")
	harness.Freeze(t, w.Guard.Cmd.Process)
	if a := w.Call(http.MethodGet, "/health", "", ""); a.Status != http.StatusOK || a.Field("status") != "degraded" {
		t.Errorf("health while the engine hangs: got %s, want 200 and degraded", a)
	}
	if a := w.Call(http.MethodGet, "/s/"+id+"/global/health", token, ""); a.Status != http.StatusOK {
		t.Errorf("a running session while the engine hangs: got %s, want it served", a)
	}
	harness.Must(t, w.Guard.Cmd.Process.Signal(syscall.SIGCONT))
	w.Create("")
}

func TestFullStateDisk(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	state := w.Vars["BERTH_STATE_DIR"]
	instance, err := os.ReadFile(filepath.Join(state, "instance"))
	harness.Must(t, err)
	if err := syscall.Mount("tmpfs", state, "tmpfs", 0, "size=2m,mode=0700"); err != nil {
		t.Fatalf("a small disk needs root: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(state, syscall.MNT_DETACH) })
	harness.Must(t, os.WriteFile(filepath.Join(state, "instance"), instance, 0o600))
	w.StartServe()
	id, token := w.Create("")
	filler := filepath.Join(state, "filler")
	fill := func() {
		f, err := os.OpenFile(filler, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		harness.Must(t, err)
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		_ = f.Close()
	}
	fill()

	if a := w.Call(http.MethodPost, "/sessions", w.AdminToken(), `{"metadata":{"x":"`+strings.Repeat("y", 8000)+`"}}`); a.Status != http.StatusServiceUnavailable || a.Field("code") != "store_unavailable" {
		t.Errorf("create on a full disk: got %s, want 503 store_unavailable", a)
	}
	// Unauthenticated clients get a status that is cached for a second.
	seen := func(status string) {
		t.Helper()
		harness.Eventually(t, 5*time.Second, "health is "+status, func() error {
			if a := w.Call(http.MethodGet, "/health", "", ""); a.Field("status") != status {
				return fmt.Errorf("got %s", a)
			}
			return nil
		})
	}
	seen("unhealthy")
	if a := w.Call(http.MethodGet, "/s/"+id+"/global/health", token, ""); a.Status != http.StatusOK {
		t.Errorf("the running session on a full disk: got %s, want it served", a)
	}
	// What frees resources is written from the reserve, although somebody takes at once what becomes free.
	fill()
	a := w.Call(http.MethodPost, "/sessions/"+id+"/auth/rotate", w.AdminToken(), "")
	if a.Status != http.StatusOK {
		t.Errorf("rotation on a full disk: got %s, want 200", a)
	}
	if b := w.Call(http.MethodGet, "/s/"+id+"/global/health", a.Field("token"), ""); b.Status != http.StatusOK {
		t.Errorf("with the token of a rotation on a full disk: got %s, want 200", b)
	}
	fill()
	if a := w.Call(http.MethodPost, "/sessions/"+id+"/stop", w.AdminToken(), ""); a.Status != http.StatusOK || a.Field("status") != "stopped" {
		t.Errorf("stop on a full disk: got %s, want 200 and stopped", a)
	}
	fill()
	if a := w.Call(http.MethodPost, "/sessions/"+id+"/start", w.AdminToken(), ""); a.Status != http.StatusServiceUnavailable {
		t.Errorf("start on a full disk: got %s, want 503", a)
	}
	if a := w.Call(http.MethodDelete, "/sessions/"+id, w.AdminToken(), ""); a.Status != http.StatusNoContent {
		t.Errorf("delete on a full disk: got %s, want 204", a)
	}
	if all := w.Containers(); len(all) != 0 {
		t.Errorf("got %d containers after the delete, want none", len(all))
	}
	harness.Must(t, os.Remove(filler))
	other, _ := w.Create("")
	seen("healthy")
	if all := w.Containers(); len(all) != 1 {
		t.Errorf("got %d containers, want that of %s", len(all), other)
	}
}

func TestHealthSeesTheEnginesDisk(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	w.StartServe()
	harness.Eventually(t, 10*time.Second, "the engine's disk is seen", func() error {
		a := w.Call(http.MethodGet, "/health", w.AdminToken(), "")
		var h struct {
			Disks []struct{ Disk, Path, Status string }
		}
		if err := json.Unmarshal(a.Body, &h); err != nil {
			return err
		}
		if len(h.Disks) != 2 || h.Disks[0].Disk != "engine" || h.Disks[0].Path == "" || h.Disks[0].Status == "unknown" {
			return fmt.Errorf("got %+v", h.Disks)
		}
		if _, err := os.Stat(filepath.Join(h.Disks[0].Path, "volumes")); err != nil {
			return fmt.Errorf("it is not the engine's directory: %w", err)
		}
		return nil
	})
}

func TestGuardRefusesUnauthenticatedClients(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	foreign := filepath.Join(w.Dir, "foreign")
	w.Run("certs", "init", "--dir", foreign)
	pair, err := tls.LoadX509KeyPair(filepath.Join(foreign, "client-cert.pem"), filepath.Join(foreign, "client-key.pem"))
	harness.Must(t, err)
	own, err := tls.LoadX509KeyPair(filepath.Join(w.Dir, "certs", "client-cert.pem"), filepath.Join(w.Dir, "certs", "client-key.pem"))
	harness.Must(t, err)
	for name, c := range map[string]struct {
		config  *tls.Config
		welcome bool
	}{
		"no certificate":                   {&tls.Config{}, false},
		"certificate of another authority": {&tls.Config{Certificates: []tls.Certificate{pair}}, false},
		"TLS 1.2":                          {&tls.Config{Certificates: []tls.Certificate{own}, MaxVersion: tls.VersionTLS12}, false},
		"our certificate":                  {&tls.Config{Certificates: []tls.Certificate{own}}, true},
	} {
		c.config.InsecureSkipVerify = true // this test is about what the guard thinks of us
		api := &http.Client{Transport: &http.Transport{TLSClientConfig: c.config, DisableKeepAlives: true}}
		resp, err := api.Get("https" + strings.TrimPrefix(w.Engine, "tcp") + "/_ping")
		if err == nil {
			_ = resp.Body.Close()
		}
		if (err == nil) != c.welcome {
			t.Errorf("%s: got %v, want welcome %v", name, err, c.welcome)
		}
	}
}

func TestPortThatIsTaken(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	w.StartServe()
	other := *w.Env
	other.Vars = maps.Clone(w.Vars)
	other.Vars["BERTH_STATE_DIR"] = filepath.Join(w.Dir, "other-state")
	harness.Must(t, os.Mkdir(other.Vars["BERTH_STATE_DIR"], 0o700))
	harness.Must(t, os.WriteFile(filepath.Join(other.Vars["BERTH_STATE_DIR"], "instance"), []byte(dockertest.Instance(t)+"\n"), 0o600)) // swept
	p := other.Start("second", other.Vars, "serve")
	<-p.Done
	text, err := os.ReadFile(p.Log)
	harness.Must(t, err)
	if p.Cmd.ProcessState.ExitCode() == 0 || !strings.Contains(string(text), "BERTH_LISTEN") {
		t.Errorf("got exit code %d and %s; want a failure that names BERTH_LISTEN", p.Cmd.ProcessState.ExitCode(), text)
	}
}

func TestSecondProcessOnTheSameStateIsRefused(t *testing.T) {
	t.Parallel()
	w := stubEnv(t)
	w.StartServe()
	env := maps.Clone(w.Vars)
	env["BERTH_LISTEN"] = harness.FreeAddress(t)
	p := w.Start("second", env, "serve")
	<-p.Done
	text, err := os.ReadFile(p.Log)
	harness.Must(t, err)
	if p.Cmd.ProcessState.ExitCode() == 0 || !strings.Contains(string(text), fmt.Sprint(w.Serve.Cmd.Process.Pid)) {
		t.Errorf("got exit code %d and %s; want a refusal that names process %d", p.Cmd.ProcessState.ExitCode(), text, w.Serve.Cmd.Process.Pid)
	}
}

func TestSocketInsteadOfTLSIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Vars["DOCKER_HOST"] = dockertest.Engine(t)
	p := w.Start("socket", w.Vars, "serve")
	<-p.Done
	text, err := os.ReadFile(p.Log)
	harness.Must(t, err)
	if p.Cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(text), "--insecure-docker-socket") {
		t.Errorf("got exit code %d and %s; want 2 and the name of the flag", p.Cmd.ProcessState.ExitCode(), text)
	}
}
