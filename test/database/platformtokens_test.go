package database_test

import (
	"bufio"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/test/harness"
)

// platformToken creates a token on an instance.
func platformToken(t *testing.T, on *harness.Env, name, scopes string) (id, secret string) {
	t.Helper()
	a := on.Call(http.MethodPost, "/tokens", on.AdminToken(), `{"name":"`+name+`","scopes":[`+scopes+`]}`)
	if a.Status != http.StatusCreated {
		t.Fatalf("create a platform token: got %s, want 201", a)
	}
	return a.Field("token_id"), a.Field("token")
}

// lists reports whether an instance answers the token's list of sessions with this status.
func lists(t *testing.T, on *harness.Env, token string, want int) error {
	t.Helper()
	a, err := on.Try(t.Context(), http.MethodGet, "/sessions", token, "")
	if err == nil && a.Status != want {
		err = fmt.Errorf("got %s, want %d", a, want)
	}
	return err
}

func TestRevokedPlatformTokenIsRefusedByEveryInstanceWithinSecond(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.StartServe()
	second := w.Sibling("second")
	second.StartServe()
	session, _ := w.Create("")
	for round := range 3 {
		id, token := platformToken(t, w.Env, fmt.Sprint("ci-", round), `"sessions:read"`)
		harness.Eventually(t, time.Second, "the other instance accepts the token", func() error { return lists(t, second, token, http.StatusOK) })
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, second.URL+"/sessions/"+session+"/events", nil)
		harness.Must(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Accept", "text/event-stream")
		resp, err := http.DefaultClient.Do(req)
		harness.Must(t, err)
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		if resp.StatusCode != http.StatusOK || !lines.Scan() {
			t.Fatalf("the stream of events: got %s and no line", resp.Status)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for lines.Scan() {
			}
		}()
		if a := w.Call(http.MethodDelete, "/tokens/"+id, w.AdminToken(), ""); a.Status != http.StatusNoContent {
			t.Fatalf("revoke: got %s", a)
		}
		revoked := time.Now()
		harness.Eventually(t, time.Second, "the other instance refuses the token", func() error { return lists(t, second, token, http.StatusUnauthorized) })
		<-ended
		if took := time.Since(revoked); took > 2*time.Second {
			t.Errorf("the stream at the other instance ended %s after the revocation, want about a second at most", took)
		}
	}
}

// While the database is away, known tokens work, and nothing is acknowledged that could be lost.
func TestPlatformTokensDuringOutage(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.StartServe()
	id, token := platformToken(t, w.Env, "ci", `"sessions:read","sessions:create"`)
	w.db.Stop()
	degraded(t, w.Env)
	if err := lists(t, w.Env, token, http.StatusOK); err != nil {
		t.Errorf("a known token without the database: %v", err)
	}
	for path, method := range map[string]string{"/tokens": http.MethodPost, "/tokens/" + id: http.MethodDelete} {
		a := w.Call(method, path, w.AdminToken(), `{"name":"other","scopes":["metrics"]}`)
		if a.Status != http.StatusServiceUnavailable || a.Field("code") != "store_unavailable" {
			t.Errorf("%s %s: got %s, want 503 store_unavailable", method, path, a)
		}
	}
	if a := w.Call(http.MethodGet, "/tokens", w.AdminToken(), ""); a.Status != http.StatusOK || !strings.Contains(string(a.Body), id) {
		t.Errorf("list without the database: got %s, want the known token", a)
	}
	// An instance that has never read the tokens does not call them wrong.
	w.Serve.Signal(syscall.SIGTERM)
	<-w.Serve.Done
	w.StartServe()
	if err := lists(t, w.Env, token, http.StatusServiceUnavailable); err != nil {
		t.Errorf("after a restart without the database: %v", err)
	}
	w.db.Start()
	healthy(t, w.Env)
	harness.Eventually(t, 10*time.Second, "the token is accepted again", func() error { return lists(t, w.Env, token, http.StatusOK) })
	if a := w.Call(http.MethodDelete, "/tokens/"+id, w.AdminToken(), ""); a.Status != http.StatusNoContent {
		t.Errorf("revoke with the database: got %s", a)
	}
	if err := lists(t, w.Env, token, http.StatusUnauthorized); err != nil {
		t.Errorf("revoked: %v", err)
	}
}

// Tokens move with the sessions: from the file into the database, at once or when it can be reached, and back.
func TestPlatformTokensMoveBetweenStores(t *testing.T) {
	t.Parallel()
	for _, away := range []bool{false, true} {
		t.Run(fmt.Sprintf("database away at first: %v", away), func(t *testing.T) {
			t.Parallel()
			w := newFixture(t)
			use := func(database string) {
				t.Helper()
				if w.Serve != nil {
					w.Serve.Signal(syscall.SIGTERM)
					<-w.Serve.Done
				}
				w.Vars["USE_DATABASE_STORAGE"] = database
				if database == "false" {
					w.StartServe()
				}
			}
			use("false")
			w.Create("")
			id, token := platformToken(t, w.Env, "ci", `"sessions:read"`)
			use("true")
			if away {
				w.db.Stop()
				w.StartServe()
				degraded(t, w.Env)
				if err := lists(t, w.Env, token, http.StatusOK); err != nil {
					t.Errorf("the file's token before the database has it: %v", err)
				}
				w.db.Start()
				healthy(t, w.Env)
			} else {
				w.StartServe()
			}
			harness.Eventually(t, 10*time.Second, "the token works with the database", func() error { return lists(t, w.Env, token, http.StatusOK) })
			if n := w.db.Run("psql", "--quiet", "--tuples-only", "--no-align", "--dbname="+w.Vars["DATABASE_URL"], "--command",
				"SELECT count(*) FROM berth_platform_tokens WHERE id = '"+id+"'"); strings.TrimSpace(n) != "1" {
				t.Errorf("the database has %q tokens of that ID, want one", n)
			}
			w.Serve.Signal(syscall.SIGTERM)
			<-w.Serve.Done
			w.Run("store", "export", "--output", filepath.Join(w.Vars["BERTH_STATE_DIR"], "sessions.json"))
			use("false")
			if err := lists(t, w.Env, token, http.StatusOK); err != nil {
				t.Errorf("back with the file: %v", err)
			}
			w.Serve.Signal(syscall.SIGTERM)
			<-w.Serve.Done
			w.Vars["USE_DATABASE_STORAGE"] = "true"
			w.db.Run("psql", "--quiet", "--dbname="+w.Vars["DATABASE_URL"], "--command", "DELETE FROM berth_platform_tokens")
			if out := w.Run("store", "import", "--output", "json", filepath.Join(w.Vars["BERTH_STATE_DIR"], "sessions.json")); !strings.Contains(out, `"platform_tokens": 1`) {
				t.Errorf("import: got %s, want the token", out)
			}
		})
	}
}
