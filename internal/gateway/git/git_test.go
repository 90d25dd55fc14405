package git_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"berth/internal/gateway/git"
	"berth/internal/session"
)

const (
	hostName     = "git.example"
	gatewayToken = session.Secret("the-token-of-the-session")
	password     = "the-operator's-own-secret"
)

// backend is git's own HTTP server. Repositories below public/ can be fetched by anybody; everything else needs the password.
type backend struct {
	root string
	url  *url.URL

	mu   sync.Mutex
	seen []*http.Request
}

func newBackend(t *testing.T) *backend {
	t.Helper()
	core, err := exec.CommandContext(t.Context(), "git", "--exec-path").Output()
	if err != nil {
		t.Skip("git is not installed")
	}
	program := filepath.Join(strings.TrimSpace(string(core)), "git-http-backend")
	if _, err := os.Stat(program); err != nil {
		t.Skip("git http-backend is not installed")
	}
	b := &backend{root: t.TempDir()}
	served := &cgi.Handler{
		Path: program, Root: "/", Logger: nil, Stderr: io.Discard,
		Env: []string{"GIT_PROJECT_ROOT=" + b.root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=bot", "HOME=" + b.root},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.seen = append(b.seen, r.Clone(context.WithoutCancel(r.Context())))
		b.mu.Unlock()
		user, pass, _ := r.BasicAuth()
		push := strings.Contains(r.URL.Path+r.URL.RawQuery, "receive-pack")
		switch {
		case strings.HasPrefix(r.URL.Path, "/moved/"):
			http.Redirect(w, r, "https://elsewhere.example"+r.URL.RequestURI(), http.StatusMovedPermanently)
			return
		case strings.HasPrefix(r.URL.Path, "/page/"):
			_, _ = io.WriteString(w, "<html>sign in</html>")
			return
		case (user != "bot" || pass != password) && (push || !strings.HasPrefix(r.URL.Path, "/public/")):
			w.Header().Set("WWW-Authenticate", `Basic realm="the provider"`)
			http.Error(w, "who are you? "+pass, http.StatusUnauthorized)
			return
		}
		if len(r.TransferEncoding) > 0 { // CGI wants a length
			spool, err := os.CreateTemp(b.root, "body")
			if err != nil {
				t.Error(err)
				return
			}
			defer spool.Close()
			defer func() { _ = os.Remove(spool.Name()) }()
			n, err := io.Copy(spool, r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := spool.Seek(0, io.SeekStart); err != nil {
				t.Error(err)
			}
			r.Body, r.ContentLength, r.TransferEncoding = spool, n, nil
		}
		served.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	if b.url, err = url.Parse(server.URL); err != nil {
		t.Fatal(err)
	}
	return b
}

// repository makes a bare repository with one commit.
func (b *backend) repository(t *testing.T, path string) {
	t.Helper()
	dir := filepath.Join(b.root, path)
	seed := t.TempDir()
	local := program{dir: seed, env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + seed}}
	local.must(t, "init", "-q", "-b", "main", ".")
	write(t, filepath.Join(seed, "README"), []byte(path+"\n"))
	local.commit(t)
	local.must(t, "clone", "-q", "--bare", seed, dir)
	local.must(t, "-C", dir, "config", "http.receivepack", "true")
}

// requests are what the backend has been asked for.
func (b *backend) requests() []*http.Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.seen)
}

// program runs git.
type program struct {
	dir string
	env []string
}

func (p program) run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = p.dir
	cmd.Env = append(slices.Clone(p.env), "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (p program) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := p.run(t, args...)
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (p program) commit(t *testing.T) {
	t.Helper()
	p.must(t, "add", "-A")
	p.must(t, "-c", "user.name=Ann", "-c", "user.email=ann@example.com", "commit", "-qm", "more")
}

func write(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// fixture is a session with a git of its own, the gateway and the backend.
type fixture struct {
	program
	*backend
	gateway string

	mu       sync.Mutex
	refusals []string
}

func newFixture(t *testing.T, rules ...git.Rule) *fixture {
	t.Helper()
	f := &fixture{backend: newBackend(t)}
	for i := range rules {
		rules[i].Host, rules[i].BaseURL, rules[i].Username = hostName, f.url, "bot"
	}
	service, err := git.New(git.Options{
		Rules: rules, Logger: slog.New(slog.DiscardHandler),
		Refused: func(_ context.Context, c session.Caller, rule, what string) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.refusals = append(f.refusals, c.Owner+" "+rule+" "+what)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+gatewayToken.Reveal() {
			t.Errorf("%s %s came without the session's token", r.Method, r.URL)
		}
		r.Header.Del("Authorization")
		service.Serve(w, r, session.Caller{Session: "ses-a", Owner: "ann"})
	}))
	t.Cleanup(server.Close)
	f.gateway = server.URL
	home := t.TempDir()
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home}
	for name, value := range git.Environment(server.URL, gatewayToken, append(service.Hosts(), "other.example")) {
		env = append(env, name+"="+value)
	}
	f.program = program{dir: home, env: env}
	return f
}

func secret() (session.Secret, error) { return password, nil }

func TestCloneFetchAndPush(t *testing.T) {
	t.Parallel()
	for name, from := range map[string]string{
		"https": "https://git.example/team/app.git", "scp": "git@git.example:team/app.git", "ssh": "ssh://git@git.example/team/app.git",
		"ssh without user": "ssh://git.example/team/app.git", "shallow": "https://git.example/team/app.git",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, git.Rule{Paths: []string{"team/*"}, Owners: []string{"ann"}, Token: secret, Push: true})
			f.repository(t, "team/app.git")
			args := []string{"clone", "-q", from, "app"}
			if name == "shallow" {
				args = []string{"clone", "-q", "--depth=1", "--no-single-branch", from, "app"}
			}
			f.must(t, args...)
			app := program{dir: filepath.Join(f.program.dir, "app"), env: f.env}
			write(t, filepath.Join(app.dir, "more"), []byte("more\n"))
			app.commit(t)
			app.must(t, "push", "-q", "origin", "HEAD:refs/heads/more")
			app.must(t, "fetch", "-q")
			if got := app.must(t, "rev-parse", "origin/more"); got != app.must(t, "rev-parse", "HEAD") {
				t.Error("the pushed commit was not fetched")
			}
			config, err := os.ReadFile(filepath.Join(app.dir, ".git", "config"))
			if err != nil || !bytes.Contains(config, []byte(from)) || bytes.Contains(config, []byte(gatewayToken)) || bytes.Contains(config, []byte(f.gateway)) {
				t.Errorf("got %v: %s; want the URL as it was written, and nothing of the gateway", err, config)
			}
			for _, r := range f.requests() {
				for field, values := range r.Header {
					if strings.Contains(strings.Join(values, " "), gatewayToken.Reveal()) {
						t.Errorf("the host has seen the session's token in %s", field)
					}
				}
			}
		})
	}
}

func TestSubmodulesAreCloned(t *testing.T) {
	t.Parallel()
	f := newFixture(t, git.Rule{Paths: []string{"team/**"}, Token: secret, Push: true})
	f.repository(t, "team/deep/part.git")
	f.repository(t, "team/app.git")
	f.must(t, "clone", "-q", "https://git.example/team/app.git", "first")
	app := program{dir: filepath.Join(f.program.dir, "first"), env: f.env}
	app.must(t, "submodule", "--quiet", "add", "../deep/part.git", "part")
	app.commit(t)
	app.must(t, "push", "-q")
	f.must(t, "clone", "-q", "--recurse-submodules", "git@git.example:team/app.git", "second")
	if text, err := os.ReadFile(filepath.Join(f.program.dir, "second", "part", "README")); err != nil || string(text) != "team/deep/part.git\n" {
		t.Errorf("got %q, %v", text, err)
	}
}

func TestPushOfAHundredMegabytes(t *testing.T) {
	t.Parallel()
	f := newFixture(t, git.Rule{Token: secret, Push: true})
	f.repository(t, "team/app.git")
	f.must(t, "clone", "-q", "https://git.example/team/app.git", "app")
	app := program{dir: filepath.Join(f.program.dir, "app"), env: f.env}
	big := make([]byte, 100<<20)
	rand.Read(big)
	write(t, filepath.Join(app.dir, "big"), big)
	app.must(t, "config", "core.compression", "0")
	app.commit(t)
	app.must(t, "push", "-q")
	want := app.must(t, "rev-parse", "HEAD:big")
	if got := app.must(t, "-C", filepath.Join(f.root, "team/app.git"), "rev-parse", "main:big"); got != want {
		t.Errorf("the host has %s, want %s", got, want)
	}
	if !slices.ContainsFunc(f.requests(), func(r *http.Request) bool { return slices.Contains(r.TransferEncoding, "chunked") }) {
		t.Error("no request was sent in chunks, want the large one to be")
	}
}

func TestRefusalsAreReadOnTheScreen(t *testing.T) {
	t.Parallel()
	f := newFixture(t,
		git.Rule{Paths: []string{"team/read"}, Token: secret},
		git.Rule{Paths: []string{"team/bob"}, Owners: []string{"bob"}, Token: secret, Push: true},
		git.Rule{Paths: []string{"team/dead"}, Token: func() (session.Secret, error) { return "dead-secret", nil }},
		git.Rule{Paths: []string{"team/unreadable"}, Token: func() (session.Secret, error) { return "", os.ErrNotExist }},
		git.Rule{Paths: []string{"moved/*", "page/*"}},
	)
	for _, path := range []string{"team/read", "team/bob", "team/dead", "public/app"} {
		f.repository(t, path+".git")
	}
	f.must(t, "clone", "-q", "https://git.example/team/read.git", "read")
	f.must(t, "clone", "-q", "https://git.example/public/app", "public") // nobody's rule: without a credential
	for _, row := range []struct {
		dir  string
		args []string
		want string
	}{
		{"read", []string{"push", "origin", "HEAD:refs/heads/x"}, "push: true"},
		{"public", []string{"push", "origin", "HEAD:refs/heads/x"}, "can only fetch"},
		{".", []string{"clone", "https://git.example/team/bob.git", "x"}, "no public repository team/bob"},
		{".", []string{"clone", "https://git.example/team/dead.git", "x"}, "refuses the operator's credential"},
		{".", []string{"clone", "https://git.example/team/unreadable.git", "x"}, "cannot be read"},
		{".", []string{"clone", "https://git.example/moved/app.git", "x"}, "has moved"},
		{".", []string{"clone", "https://git.example/page/app.git", "x"}, "did not answer as a git host does"},
		{".", []string{"clone", "https://other.example/team/app.git", "x"}, "sessions reach no git host other.example"},
	} {
		p := program{dir: filepath.Join(f.program.dir, row.dir), env: f.env}
		out, err := p.run(t, row.args...)
		if err == nil || !strings.Contains(out, "remote: ") || !strings.Contains(out, row.want) {
			t.Errorf("%v: got %v\n%s\nwant it to show %q", row.args, err, out, row.want)
		}
		for _, hidden := range []string{password, "dead-secret", "the provider", "who are you", "elsewhere.example"} {
			if strings.Contains(out, hidden) {
				t.Errorf("%v: %q is shown:\n%s", row.args, hidden, out)
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Contains(f.refusals, "ann git git-receive-pack git.example/team/read.git") || len(f.refusals) != 3 {
		t.Errorf("recorded: %q; want two pushes and one host", f.refusals)
	}
}

func TestOnlySmartRequestsAreServed(t *testing.T) {
	t.Parallel()
	f := newFixture(t, git.Rule{Token: secret, Push: true})
	f.repository(t, "team/app.git")
	for _, row := range []struct{ method, path, kind string }{
		{"GET", "/git/git.example/team/app.git/HEAD", ""},
		{"GET", "/git/git.example/team/app.git/info/refs", ""},
		{"GET", "/git/git.example/team/app.git/info/refs?service=git-upload-archive", ""},
		{"GET", "/git/git.example/team/app.git/info/refs?service=git-upload-pack&x=1", ""},
		{"GET", "/git/git.example/team/app.git/info/refs?x=1&service=git-upload-pack", ""},
		{"GET", "/git/git.example/team/app.git/objects/info/packs", ""},
		{"GET", "/git/git.example/team/app.git/info/lfs/objects/batch", ""},
		{"GET", "/git/git.example/team/app.git/git-upload-pack", "application/x-git-upload-pack-request"},
		{"HEAD", "/git/git.example/team/app.git/info/refs?service=git-upload-pack", ""},
		{"POST", "/git/git.example/team/app.git/git-upload-pack", "text/plain"},
		{"POST", "/git/git.example/team/app.git/git-upload-pack?x", "application/x-git-upload-pack-request"},
		{"POST", "/git/git.example/team/app.git/git-receive-pack", "application/x-git-upload-pack-request"},
		{"POST", "/git/git.example/api/v4/projects", "application/json"},
		{"GET", "/git/git.example/../team/app.git/info/refs?service=git-upload-pack", ""},
		{"GET", "/git/git.example/team/%2e%2e/app.git/info/refs?service=git-upload-pack", ""},
		{"GET", "/git/git.example/team%2fapp.git/info/refs?service=git-upload-pack", ""},
		{"GET", "/git/git.example//team/app.git/info/refs?service=git-upload-pack", ""},
		{"GET", "/git/git.example/team/app.git//info/refs?service=git-upload-pack", ""},
		{"GET", "/git/GIT.example/team/app.git/info/refs?service=git-upload-pack", ""},
		{"GET", "/git/bot@git.example/team/app.git/info/refs?service=git-upload-pack", ""},
		{"GET", "/git/git.example/info/refs?service=git-upload-pack", ""},
		{"GET", "/git/", ""},
	} {
		r, err := http.NewRequestWithContext(t.Context(), row.method, f.gateway+row.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+gatewayToken.Reveal())
		r.Header.Set("Content-Type", row.kind)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s %s: got %d, want 403", row.method, row.path, resp.StatusCode)
		}
	}
	if n := len(f.requests()); n != 0 {
		t.Errorf("the host was asked %d times, want never", n)
	}
}

func TestCredentialIsReadWithEachRequest(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now := session.Secret("old")
	f := newFixture(t, git.Rule{Token: func() (session.Secret, error) {
		mu.Lock()
		defer mu.Unlock()
		return now, nil
	}})
	f.repository(t, "team/app.git")
	if out, err := f.run(t, "ls-remote", "https://git.example/team/app.git"); err == nil {
		t.Errorf("got %s, want the old credential refused", out)
	}
	mu.Lock()
	now = password
	mu.Unlock()
	f.must(t, "ls-remote", "https://git.example/team/app.git")
}

func TestRulesAreChecked(t *testing.T) {
	t.Parallel()
	at := func(text string) *url.URL {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	for name, r := range map[string]git.Rule{
		"no host": {}, "URL": {Host: "https://git.example"}, "upper case": {Host: "Git.example"}, "path in the host": {Host: "git.example/x"},
		"file": {Host: "git.example", BaseURL: at("file:///etc")}, "user": {Host: "git.example", BaseURL: at("https://a:b@git.example/")},
		"pattern": {Host: "git.example", Paths: []string{"["}}, "slash": {Host: "git.example", Paths: []string{"/team"}},
		"user name": {Host: "git.example", Username: "a:b"},
	} {
		if _, err := git.New(git.Options{Rules: []git.Rule{r}, Logger: slog.New(slog.DiscardHandler)}); err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
}

func TestEnvironmentWithoutHostsIsEmpty(t *testing.T) {
	t.Parallel()
	if got := git.Environment("http://10.0.0.1:8081", "x", nil); len(got) != 0 {
		t.Errorf("got %v", slices.Sorted(maps.Keys(got)))
	}
}
