package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"berth/internal/access"
	"berth/internal/dockertest"
	"berth/internal/postgrestest"
	"berth/internal/session"
	"berth/test/harness"
)

// A whole life, logged in full to console and file, and then a search of everything that anybody could read for every
// secret that took part in it.
func TestNoSecretIsAnywhereButWhereItBelongs(t *testing.T) {
	t.Parallel()
	for name, backend := range map[string]func(*testing.T, *search, *fixture) (dump func() string){
		"file":     withFile,
		"database": withDatabase,
		"process":  withProcesses,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := stubEnv(t)
			s := &search{secrets: map[string]string{}}
			dump := backend(t, s, w)
			hooked := receive(t, s, w)
			w.Vars["LOG_LEVEL"], w.Vars["LOG_CONSOLE"], w.Vars["LOG_FILE_ENABLED"] = "DEBUG", "true", "true"
			w.Vars["LOG_FILE"] = filepath.Join(w.Dir, "logs", "berth.log")
			w.Vars["CONTAINER_HEALTH_CHECK_INTERVAL"], w.Vars["CONTAINER_RESTART_DELAY"] = "1", "0.2"
			harness.Must(t, os.Mkdir(filepath.Join(w.Dir, "logs"), 0o700))
			processes := watchProcesses(t)

			h := &streamCapture{fixture: w}
			h.live(t, s)
			if hooked.Load() == 0 {
				t.Error("nobody was notified")
			}
			answers := h.text.Bytes()
			s.in("an answer", answers)
			s.in("a command line", processes())
			s.in("what berth config show prints", []byte(w.Run("config", "show")))
			s.in("an export", []byte(w.Run("store", "export")))
			s.in("a dump of the database", []byte(dump()))
			if seen := s.files(t, w.Dir, "admin-token", "token-secret"); seen < 5 {
				t.Errorf("only %d files were searched", seen)
			}
			if log, err := os.ReadFile(w.Vars["LOG_FILE"]); err != nil || len(log) < 1000 || len(answers) < 1000 {
				t.Errorf("the log has %d bytes (%v), the answers %d: the search says nothing", len(log), err, len(answers))
			}
			slices.Sort(s.found)
			for _, found := range slices.Compact(s.found) {
				t.Errorf("found %s", found)
			}
		})
	}
}

// withFile has secrets made and kept by Berth itself.
func withFile(*testing.T, *search, *fixture) func() string { return func() string { return "" } }

// withDatabase has secrets from the environment, so that the database has none.
func withDatabase(t *testing.T, s *search, w *fixture) func() string {
	t.Helper()
	db := postgrestest.Start(t)
	w.Vars["USE_DATABASE_STORAGE"], w.Vars["DATABASE_URL"] = "true", db.URL("postgres")
	w.Vars["BERTH_ADMIN_TOKEN"] = access.NewToken(40).Reveal()
	w.Vars["SESSION_TOKEN_SECRET"] = access.NewToken(43).Reveal()
	s.secrets["the database's password"] = db.Password()

	wrong := w.Sibling("wrong")
	wrong.Vars["DATABASE_URL"] = strings.Replace(db.URL("postgres"), db.Password(), "wr0ng-"+db.Password(), 1)
	wrong.Vars["DB_FALLBACK"] = "false"
	p := wrong.Start("wrong", wrong.Vars, "serve")
	<-p.Done
	return func() string { return db.Run("pg_dump", "--dbname=postgres") }
}

// withProcesses runs sessions as plain processes, whose environment is theirs and whose command line is everybody's.
func withProcesses(t *testing.T, _ *search, w *fixture) func() string {
	t.Helper()
	p := dockertest.StubProfile(t)
	p.Command = []string{dockertest.BuildStub(t), "-hostname", "127.0.0.1", "-port", "{port}"}
	p.Env = map[string]string{"STUB_STATE": "."}
	w.Profiles(map[string]session.Profile{"stub": p})
	w.Vars["BERTH_RUNTIME"] = "process"
	return func() string { return "" }
}

// receive has notices sent to an address that is a secret itself, and that fails in more than one way.
func receive(t *testing.T, s *search, w *fixture) *atomic.Int32 {
	t.Helper()
	var got atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		switch got.Add(1) % 3 {
		case 1:
			panic(http.ErrAbortHandler) // the client's error names the address
		case 2:
			rw.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(server.Close)
	path, key := access.NewToken(32).Reveal(), access.NewToken(32).Reveal()
	w.Vars["BERTH_WEBHOOK_URL"], w.Vars["BERTH_WEBHOOK_SECRET"] = server.URL+"/hooks/"+path, key
	s.secrets["the webhook's address"], s.secrets["the webhook's key"] = path, key
	return &got
}

// live leads sessions through everything that has to do with secrets, and tells the search what they are.
func (h *streamCapture) live(t *testing.T, s *search) {
	t.Helper()
	w := h.fixture
	w.StartServe()
	admin := w.AdminToken()
	s.secrets["the admin token"] = admin
	secret := w.Vars["SESSION_TOKEN_SECRET"]
	if secret == "" {
		text, err := os.ReadFile(filepath.Join(w.Vars["BERTH_STATE_DIR"], "token-secret"))
		harness.Must(t, err)
		secret = strings.TrimSpace(string(text))
	}
	s.secrets["the token secret"] = secret

	made := h.call(t, http.MethodPost, "/sessions", admin, `{"owner":"ann"}`)
	id, first := made.Field("session_id"), made.Field("token")
	if id == "" {
		t.Fatalf("create: got %s", made)
	}
	keys, err := access.NewKeys([]byte(secret))
	harness.Must(t, err)
	credential := keys.Upstream(made.Field("container_name")).Reveal()
	s.secrets["the first token"], s.secrets["the server's credential"] = first, credential
	own, proxied := "/sessions/"+id, "/s/"+id
	if w.Vars["BERTH_RUNTIME"] == "" {
		holds(t, made.Field("container_name"), credential)
		h.expect(t, http.MethodPost, "/sessions", admin, `{"image":"no/such:image"}`, 422)
		h.expect(t, http.MethodPost, "/sessions", admin, `{"profile":"exit"}`, 502)
	}

	h.expect(t, http.MethodPost, proxied+"/session", first, "{}", 200)
	h.expect(t, http.MethodGet, proxied+"/session?auth_token="+first, first, "", 200)
	h.expect(t, http.MethodGet, proxied+"/session?auth_token="+first, "", "", 401)
	h.expect(t, http.MethodGet, proxied, first, "", 200) // by a redirect
	h.expect(t, http.MethodGet, own+"/auth", first, "", 200)
	h.expect(t, http.MethodPost, "/sessions", first, "{}", 401)
	h.expect(t, http.MethodPost, "/sessions", admin, `{"owner":`, 400)
	h.expect(t, http.MethodGet, "/nowhere?token="+first, admin, "", 404)
	h.expect(t, http.MethodPost, own+"/auth/rotate?grace=never", first, "", 400)

	wrong := access.NewToken(32).Reveal()
	s.secrets["a wrong token"] = wrong
	for range 8 {
		h.call(t, http.MethodGet, own, wrong, "")
		h.call(t, http.MethodGet, proxied+"/", wrong, "")
	}
	h.expect(t, http.MethodGet, own, wrong, "", 429)

	stream, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := h.events(stream, t, proxied+"/event", first)
	second := h.expect(t, http.MethodPost, own+"/auth/rotate?grace=1s", first, "", 200).Field("token")
	third := h.expect(t, http.MethodPost, own+"/auth/rotate?grace=2s", second, "", 200).Field("token")
	s.secrets["the second token"], s.secrets["the third token"] = second, third
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the first token's stream goes on, want it ended by the second rotation")
	}
	h.call(t, http.MethodGet, proxied+"/session", second, "")
	h.expect(t, http.MethodGet, proxied+"/session", third, "", 200)

	for _, path := range []string{"", "/events", "/logs", "/auth"} {
		h.expect(t, http.MethodGet, own+path, admin, "", 200)
	}
	for _, path := range []string{"/sessions", "/auth/sessions", "/health", "/health/container", "/metrics", "/instances", "/openapi.json"} {
		h.expect(t, http.MethodGet, path, admin, "", 200)
	}
	_, _ = w.Try(t.Context(), http.MethodPost, proxied+"/exit?code=7", third, "") // may end before it has answered
	harness.Eventually(t, 60*time.Second, "the session is healed", func() error {
		return w.serves(t.Context(), id, third)
	})

	w.Serve.Signal(syscall.SIGTERM)
	w.StartServe()
	harness.Eventually(t, 30*time.Second, "the session is served after a restart of Berth", func() error {
		return w.serves(t.Context(), id, third)
	})
	h.expect(t, http.MethodGet, own, first, "", 401)
	h.expect(t, http.MethodPost, own+"/restart", admin, "", 200)
	w.Serve.Signal(syscall.SIGQUIT) // writes down where every goroutine is, with its arguments
	w.StartServe()
	harness.Eventually(t, 30*time.Second, "the session is served after a crash", func() error {
		return w.serves(t.Context(), id, third)
	})
	h.expect(t, http.MethodDelete, own, admin, "", 204)
	kept := h.call(t, http.MethodPost, "/sessions", admin, `{"owner":"bob"}`) // is in the stores that are searched
	s.secrets["the last token"], s.secrets["the last credential"] = kept.Field("token"), keys.Upstream(kept.Field("container_name")).Reveal()
	s.secrets["the newest token"] = w.rotated(t, kept.Field("session_id"))
	w.Serve.Signal(syscall.SIGTERM)
}

// expect is call for an answer that is known.
func (h *streamCapture) expect(t *testing.T, method, path, token, body string, status int) harness.Answer {
	t.Helper()
	a := h.call(t, method, path, token, body)
	if a.Status != status {
		t.Errorf("%s %s: got %d, want %d", method, strings.SplitN(path, "?", 2)[0], a.Status, status)
	}
	return a
}

// events opens an event stream, whose end closes what it returns.
func (h *streamCapture) events(ctx context.Context, t *testing.T, path, token string) <-chan struct{} {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.URL+path, nil)
	harness.Must(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	harness.Must(t, err)
	lines, ended := bufio.NewScanner(resp.Body), make(chan struct{})
	if resp.StatusCode != http.StatusOK || !lines.Scan() {
		t.Fatalf("the event stream: got %s", resp.Status)
	}
	go func() {
		defer close(ended)
		defer resp.Body.Close()
		for lines.Scan() {
		}
	}()
	return ended
}

// serves reports whether a session answers who has this token.
func (w *fixture) serves(ctx context.Context, id, token string) error {
	a, err := w.Try(ctx, http.MethodGet, "/s/"+id+"/session", token, "")
	if err == nil && a.Status != http.StatusOK {
		err = fmt.Errorf("got %d", a.Status)
	}
	return err
}

// holds makes sure that a container has the credential that is looked for, or the search would say nothing.
func holds(t *testing.T, container, credential string) {
	t.Helper()
	found, err := dockertest.Client(t).ContainerInspect(t.Context(), container, client.ContainerInspectOptions{})
	harness.Must(t, err)
	if !slices.Contains(found.Container.Config.Env, "OPENCODE_SERVER_PASSWORD="+credential) {
		t.Error("the container has another credential than the one that is looked for")
	}
}

// rotated rotates by the command, whose way to the admin token is part of what is searched, and returns the new token.
func (w *fixture) rotated(t *testing.T, id string) string {
	t.Helper()
	var made struct {
		Token string     `json:"token"`
		End   *time.Time `json:"previous_token_expires_at"`
	}
	if err := json.Unmarshal([]byte(w.Run("session", "rotate", id, "--grace", "10m", "--output", "json", "--url", w.URL)), &made); err != nil || made.End == nil {
		t.Errorf("berth session rotate --grace: got %+v, %v; want a token and the end of the grace", made.End, err)
	}
	for _, args := range [][]string{{"session", "auth", "--url", w.URL}, {"session", "auth", id, "--url", w.URL}} {
		if out := w.Run(args...); !strings.Contains(out, id) {
			t.Errorf("berth %s: got %s, want the session %s", strings.Join(args, " "), out, id)
		}
	}
	return made.Token
}
