package docker_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"berth/internal/docker"
	"berth/internal/session"

	"github.com/moby/moby/api/types/container"
)

// fakeEngine answers like an engine of the version, as far as this package uses it. on overrides a route.
type fakeEngine struct {
	t       *testing.T
	version string
	server  *httptest.Server

	mu         sync.Mutex
	overrides  map[string]http.HandlerFunc // by "METHOD /path" without the version; "*" matches an ID or name
	containers map[string]container.InspectResponse
	bodies     []map[string]any            // of creations, as received
	weaken     func(*container.HostConfig) // changes a container's settings, as a faulty engine does
}

func newFakeEngine(t *testing.T, version string) *fakeEngine {
	t.Helper()
	e := &fakeEngine{
		t: t, version: version, overrides: map[string]http.HandlerFunc{}, containers: map[string]container.InspectResponse{},
	}
	e.server = httptest.NewServer(e)
	t.Cleanup(e.server.Close)
	return e
}

func (e *fakeEngine) host() string { return "tcp://" + e.server.Listener.Addr().String() }

func (e *fakeEngine) open(change func(*docker.Options)) *docker.Runtime {
	e.t.Helper()
	opts := docker.Options{Host: e.host(), Instance: "unit", OperationTimeout: 10 * time.Second}
	if change != nil {
		change(&opts)
	}
	r, err := docker.Open(e.t.Context(), opts)
	if err != nil {
		e.t.Fatalf("open the fake engine: %v", err)
	}
	e.t.Cleanup(func() { _ = r.Close() })
	return r
}

func (e *fakeEngine) on(route string, answer http.HandlerFunc) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.overrides[route] = answer
}

// engineError answers with a status and an error in the engine's format.
func engineError(status int, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"message": message})
	}
}

// hangUp closes the connection in the middle of an answer, as an engine that crashes does.
func hangUp(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"Id\":")
		_ = conn.Close()
	}
}

func (e *fakeEngine) left() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	names := []string{}
	for name := range e.containers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (e *fakeEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Api-Version", e.version)
	path := r.URL.Path
	if rest, ok := strings.CutPrefix(path, "/v"+e.version); ok {
		path = rest
	}
	route := r.Method + " " + path
	parts := strings.Split(path, "/")
	if len(parts) > 2 && parts[1] == "containers" && parts[2] != "create" && parts[2] != "json" {
		parts[2] = "*"
		route = r.Method + " " + strings.Join(parts, "/")
	}
	e.mu.Lock()
	overrule := e.overrides[route]
	e.mu.Unlock()
	if overrule != nil {
		overrule(w, r)
		return
	}
	e.answer(w, r, route, path)
}

func (e *fakeEngine) answer(w http.ResponseWriter, r *http.Request, route, path string) {
	reply := func(value any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(value)
	}
	name := ""
	if parts := strings.Split(path, "/"); len(parts) > 2 {
		name = parts[2]
	}
	switch route {
	case "GET /_ping", "HEAD /_ping":
		_, _ = io.WriteString(w, "OK")
	case "GET /info":
		reply(map[string]any{"NCPU": 2, "OSType": "linux", "ServerVersion": "fake", "SecurityOptions": []string{"name=seccomp,profile=default"}})
	case "GET /networks":
		reply([]map[string]any{{
			"Name": "berth", "Id": "net1", "Driver": "bridge",
			"Options": map[string]string{"com.docker.network.bridge.enable_icc": "false"},
		}})
	case "GET /containers/json":
		reply([]any{})
	case "POST /containers/create":
		e.create(w, r, reply)
	case "GET /containers/*/json":
		e.mu.Lock()
		c, ok := e.containers[name]
		e.mu.Unlock()
		if !ok {
			engineError(http.StatusNotFound, "No such container: "+name)(w, r)
			return
		}
		reply(c)
	case "DELETE /containers/*":
		e.mu.Lock()
		delete(e.containers, name)
		e.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	case "POST /containers/*/start", "POST /containers/*/stop":
		w.WriteHeader(http.StatusNoContent)
	default:
		engineError(http.StatusNotFound, "page not found")(w, r)
	}
}

// create adds a container. Its ID is its name.
func (e *fakeEngine) create(w http.ResponseWriter, r *http.Request, reply func(any)) {
	name := r.URL.Query().Get("name")
	text, err := io.ReadAll(r.Body)
	var asked container.CreateRequest
	var body map[string]any
	if err == nil {
		err = json.Unmarshal(text, &asked)
	}
	if err == nil {
		err = json.Unmarshal(text, &body)
	}
	if err != nil {
		engineError(http.StatusBadRequest, err.Error())(w, r)
		return
	}
	asked.HostConfig.MaskedPaths, asked.HostConfig.ReadonlyPaths = []string{"/proc/kcore"}, []string{"/proc/sys"}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.weaken != nil {
		e.weaken(asked.HostConfig)
	}
	e.bodies = append(e.bodies, body)
	e.containers[name] = container.InspectResponse{
		ID: name, Name: "/" + name, Config: asked.Config, HostConfig: asked.HostConfig,
		State: &container.State{Status: container.StateCreated}, Created: time.Now().UTC().Format(time.RFC3339Nano),
	}
	reply(map[string]any{"Id": name, "Warnings": []string{}})
}

// run marks a container as running.
func (e *fakeEngine) run(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.containers[name].State.Status = container.StateRunning
}

func unitSpec(name string) session.Spec {
	return session.Spec{
		Session: "ses-unit", Name: name, Image: "image:1", Credential: password,
		Limits:    session.Limits{Memory: 64 << 20, CPUs: session.OneCPU, Processes: 128},
		CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC),
		Profile: session.Profile{
			Image: "image:1", Port: 4096, UID: 10001, GID: 10001, Username: "opencode", PasswordEnv: "PASSWORD",
			Env:     map[string]string{"B": "2", "A": "1"},
			Ready:   session.Probe{Path: "/global/health"},
			Volumes: []session.Volume{{Name: session.WorkspaceVolume, Path: "/workspace"}},
			Tmpfs:   []session.Tmpfs{{Path: "/tmp", Size: 1 << 20}},
		},
	}
}

func (e *fakeEngine) body() map[string]any {
	e.t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.bodies) == 0 {
		e.t.Fatal("the engine was asked for no container, want one")
	}
	return e.bodies[0]
}

func field(body map[string]any, path ...string) string {
	var value any = body
	for _, name := range path {
		object, _ := value.(map[string]any)
		value = object[name]
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(err)
	}
	return string(text)
}
