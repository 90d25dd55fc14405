package docker_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"berth/internal/docker"
	"berth/internal/session"
)

func TestEngineErrorsBecomeCodes(t *testing.T) {
	t.Parallel()
	const create, start = "POST /containers/create", "POST /containers/*/start"
	for name, c := range map[string]struct {
		route  string
		answer http.HandlerFunc
		want   session.Code
	}{
		"no image":            {create, engineError(404, "No such image: image:1"), session.CodeImageNotFound},
		"name taken":          {create, engineError(409, `Conflict. The container name "/one" is already in use`), session.CodeConflict},
		"disk full":           {create, engineError(500, "write /var/lib/docker/x: no space left on device"), session.CodeDiskFull},
		"bad limit":           {create, engineError(400, "Minimum memory limit allowed is 6MB"), session.CodeInvalid},
		"create cut off":      {create, hangUp, session.CodeEngineUnavailable},
		"no engine behind":    {create, engineError(502, "bad gateway"), session.CodeEngineUnavailable},
		"create fails":        {create, engineError(500, "something else"), session.CodeInternal},
		"port allocated":      {start, engineError(500, "Bind for 127.0.0.1:32768 failed: port is already allocated"), session.CodePortTaken},
		"port in use":         {start, engineError(500, "listen tcp4 127.0.0.1:32768: bind: address already in use"), session.CodePortTaken},
		"disk full at start":  {start, engineError(500, "mkdir /x: no space left on device"), session.CodeDiskFull},
		"wrong architecture":  {start, engineError(400, "exec /server: exec format error"), session.CodeStartFailed},
		"start fails":         {start, engineError(500, "OCI runtime create failed: whatever"), session.CodeStartFailed},
		"earlier run remains": {start, engineError(500, "task 1aef606e4ae0: already exists: unknown"), session.CodeConflict},
		"start is refused":    {start, engineError(400, "whatever"), session.CodeStartFailed},
		"gone meanwhile":      {start, engineError(404, "No such container: one"), session.CodeNotFound},
		"being removed":       {start, engineError(409, "container is marked for removal and cannot be started"), session.CodeConflict},
		"start cut off":       {start, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, session.CodeEngineUnavailable},
		"inspect cut off":     {"GET /containers/*/json", hangUp, session.CodeEngineUnavailable},
		"networks unreadable": {"GET /networks", engineError(500, "database is locked"), session.CodeInternal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newFakeEngine(t, "1.41")
			r := e.open(nil)
			e.on(c.route, c.answer)
			_, err := r.Create(t.Context(), unitSpec("one"))
			if err == nil {
				err = r.Start(t.Context(), "one")
			}
			wantCode(t, err, c.want, name)
			if message := session.MessageOf(err); strings.Contains(message, "127.0.0.1") || strings.Contains(message, "/var/lib") {
				t.Errorf("message = %q, want no addresses or paths of the inside in it", message)
			}
			if err != nil && strings.Contains(err.Error(), password.Reveal()) {
				t.Errorf("error = %v: it has the password in it", err)
			}
		})
	}
}

func TestSlowEngineIsUnavailable(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.41")
	r := e.open(func(o *docker.Options) { o.OperationTimeout = 300 * time.Millisecond })
	if _, err := r.Create(t.Context(), unitSpec("one")); err != nil {
		t.Fatalf("create: %v", err)
	}
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	e.on("POST /containers/*/start", hang)
	wantCode(t, r.Start(t.Context(), "one"), session.CodeEngineUnavailable, "the engine is too slow")
	e.on("GET /events", hang)
	wantCode(t, r.Watch(t.Context(), nil, func(session.RuntimeEvent) {}), session.CodeEngineUnavailable, "the stream never began")
	e.on("GET /containers/*/logs", hang)
	_, err := r.Logs(t.Context(), "one", session.LogOptions{Follow: true})
	wantCode(t, err, session.CodeEngineUnavailable, "the log never began")
}

func TestOpenSaysWhatToDo(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	refusing := "tcp://" + closed.Addr().String()
	_ = closed.Close()
	page := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(page.Close)
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	picky := httptest.NewUnstartedServer(http.NotFoundHandler())
	picky.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	picky.StartTLS()
	t.Cleanup(picky.Close)
	old := newFakeEngine(t, "1.40")
	behind := newFakeEngine(t, "1.41")
	behind.on("GET /_ping", engineError(502, "bad gateway"))
	trusting := func(s *httptest.Server) *tls.Config {
		roots := x509.NewCertPool()
		roots.AddCert(s.Certificate())
		return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}
	}
	tcp := func(s *httptest.Server) string { return "tcp://" + s.Listener.Addr().String() }

	for name, c := range map[string]struct {
		opts docker.Options
		code session.Code
		says string
	}{
		"no host":             {docker.Options{}, session.CodeInvalid, "host is missing"},
		"strange host":        {docker.Options{Host: "ssh://somewhere"}, session.CodeInvalid, "DOCKER_HOST"},
		"no socket":           {docker.Options{Host: "unix://" + filepath.Join(t.TempDir(), "none.sock")}, session.CodeEngineUnavailable, "make run"},
		"refused":             {docker.Options{Host: refusing}, session.CodeEngineUnavailable, "make run"},
		"unknown host":        {docker.Options{Host: "tcp://engine.invalid:2376", PublishIP: "127.0.0.1"}, session.CodeEngineUnavailable, "DOCKER_HOST"},
		"a web page":          {docker.Options{Host: tcp(page)}, session.CodeEngineUnavailable, "not a Docker engine"},
		"tls not expected":    {docker.Options{Host: tcp(secure)}, session.CodeEngineUnavailable, "DOCKER_TLS_VERIFY"},
		"no tls":              {docker.Options{Host: tcp(page), TLS: &tls.Config{MinVersion: tls.VersionTLS13}}, session.CodeEngineUnavailable, "does not use TLS"},
		"unknown ca":          {docker.Options{Host: tcp(secure), TLS: &tls.Config{MinVersion: tls.VersionTLS13}}, session.CodeEngineUnavailable, "DOCKER_CA_CERT"},
		"no certificate":      {docker.Options{Host: tcp(picky), TLS: trusting(picky)}, session.CodeEngineUnavailable, "DOCKER_CLIENT_CERT"},
		"too old":             {docker.Options{Host: old.host()}, session.CodeEngineUnavailable, "20.10"},
		"nothing behind":      {docker.Options{Host: behind.host()}, session.CodeEngineUnavailable, "cannot reach its engine"},
		"published to all":    {docker.Options{Host: old.host(), PublishIP: "0.0.0.0"}, session.CodeInvalid, "SESSION_PUBLISH_IP"},
		"negative operations": {docker.Options{Host: old.host(), MaxOperations: -1}, session.CodeInvalid, "negative"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.opts.Instance, c.opts.OperationTimeout = "unit", 5*time.Second
			_, err := docker.Open(t.Context(), c.opts)
			wantCode(t, err, c.code, name)
			if !strings.Contains(session.MessageOf(err), c.says) {
				t.Errorf("message = %q, want %q in it", session.MessageOf(err), c.says)
			}
		})
	}
}

func TestEngineIsReachedOverMutualTLS(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.41")
	secure := httptest.NewUnstartedServer(e)
	secure.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13}
	secure.StartTLS()
	t.Cleanup(secure.Close)
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	r := e.open(func(o *docker.Options) {
		o.Host = "tcp://" + secure.Listener.Addr().String()
		o.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13, Certificates: secure.TLS.Certificates}
	})
	if _, err := r.Create(t.Context(), unitSpec("one")); err != nil {
		t.Errorf("create over TLS: %v", err)
	}
	r.CloseIdle() // as after a change of certificates
	if err := r.Ping(t.Context()); err != nil {
		t.Errorf("ping over a new connection: %v", err)
	}
}

// The error says why the engine cannot be reached, and never its address.
func TestUnreachableEngineErrorOmitsAddress(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		harm func(e *fakeEngine, secure *httptest.Server, revoked *atomic.Bool)
		says string
	}{
		"certificate revoked": {func(_ *fakeEngine, _ *httptest.Server, revoked *atomic.Bool) { revoked.Store(true) }, "refuses Berth's client certificate"},
		"nothing listens": {func(_ *fakeEngine, secure *httptest.Server, _ *atomic.Bool) {
			_ = secure.Listener.Close()
			secure.CloseClientConnections()
		}, "nothing listens at its address, or at that of the guard in front of it"},
		"a guard without its engine": {func(e *fakeEngine, _ *httptest.Server, _ *atomic.Bool) {
			for _, route := range []string{"GET /_ping", "HEAD /_ping", "GET /containers/json"} {
				e.on(route, engineError(502, "bad gateway"))
			}
		}, "the engine behind that does not answer"},
		"no answer in time": {func(e *fakeEngine, _ *httptest.Server, _ *atomic.Bool) {
			for _, route := range []string{"GET /_ping", "HEAD /_ping", "GET /containers/json"} {
				e.on(route, func(_ http.ResponseWriter, r *http.Request) {
					<-r.Context().Done()
					panic(http.ErrAbortHandler) // no answer, not an empty one
				})
			}
		}, "did not answer in time"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newFakeEngine(t, "1.41")
			var revoked atomic.Bool
			secure := httptest.NewUnstartedServer(e)
			secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
			secure.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13, VerifyConnection: func(tls.ConnectionState) error {
				if revoked.Load() {
					return errors.New("revoked")
				}
				return nil
			}}
			secure.StartTLS()
			t.Cleanup(secure.Close)
			roots := x509.NewCertPool()
			roots.AddCert(secure.Certificate())
			r := e.open(func(o *docker.Options) {
				o.Host = "tcp://" + secure.Listener.Addr().String()
				o.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13, Certificates: secure.TLS.Certificates}
				o.OperationTimeout = time.Second
			})
			c.harm(e, secure, &revoked)
			r.Renew()
			_, list := r.List(t.Context())
			for call, err := range map[string]error{"ping": r.Ping(t.Context()), "list": list} {
				wantCode(t, err, session.CodeEngineUnavailable, name)
				message := session.MessageOf(err)
				if !strings.Contains(message, c.says) || !strings.Contains(message, "berth docker test") || strings.Contains(message, "127.0.0.1") {
					t.Errorf("%s: message = %q, want %q, the next step, and no address in it", call, message, c.says)
				}
				if name == "nothing listens" && !strings.Contains(err.Error(), secure.Listener.Addr().String()) {
					t.Errorf("%s: error = %v, want the address in it, for the log", call, err)
				}
			}
		})
	}
}

func TestEveryCallReportsUnavailableEngine(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.41")
	r := e.open(nil)
	e.server.CloseClientConnections()
	_ = e.server.Listener.Close()
	ctx := t.Context()
	_, inspect := r.Inspect(ctx, "one")
	_, list := r.List(ctx)
	_, create := r.Create(ctx, unitSpec("one"))
	_, logs := r.Logs(ctx, "one", session.LogOptions{})
	_, stats := r.Stats(ctx, "one")
	for name, err := range map[string]error{
		"Ping": r.Ping(ctx), "Inspect": inspect, "List": list, "Create": create, "Logs": logs, "Stats": stats,
		"Start": r.Start(ctx, "one"), "Stop": r.Stop(ctx, "one", time.Second), "Remove": r.Remove(ctx, "one", true),
		"RemoveVolumes": r.RemoveVolumes(ctx, "one"), "Watch": r.Watch(ctx, nil, func(session.RuntimeEvent) {}),
	} {
		wantCode(t, err, session.CodeEngineUnavailable, name)
	}
}
