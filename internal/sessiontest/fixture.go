// Package sessiontest provides a real session manager for tests, with a store on disk and an engine in memory whose containers are
// real HTTP servers.
//
// It wires the domain, and does not depend on the tests that use it.
package sessiontest

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"berth/internal/access"
	"berth/internal/lifecycle"
	"berth/internal/pipenet"
	"berth/internal/probe"
	"berth/internal/runtimetest"
	"berth/internal/session"
	"berth/internal/storage/jsonfile"
)

// Fixture is a Manager with a store on disk and a fake engine whose containers are real HTTP servers.
type Fixture struct {
	*lifecycle.Manager
	Engine  *runtimetest.Fake
	Store   *Store
	Routes  *Routes
	Keys    access.Keys
	Options lifecycle.Options
	Clock   *Clock
	Servers *http.Client // reaches the servers of the containers

	t      testing.TB
	prober session.Prober
}

// Clock is the Manager's clock.
type Clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *Clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

// Advance moves the clock forward.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// Routes records the published routes.
type Routes struct {
	mu  sync.Mutex
	all map[session.ID]session.Route
}

// Set implements session.Routes.
func (r *Routes) Set(route session.Route) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all[route.ID] = route
}

// Remove implements session.Routes.
func (r *Routes) Remove(id session.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.all, id)
}

// Get returns the last published route of a session.
func (r *Routes) Get(id session.ID) (session.Route, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	route, ok := r.all[id]
	return route, ok
}

// Store is a store on disk with scriptable failures, which notifies its watchers of changes.
type Store struct {
	session.Store
	mu       sync.Mutex
	fail     map[string]error // by method
	watchers []chan session.ID
}

var _ lifecycle.Feed = (*Store)(nil)

// Fail makes a method fail from now on; nil ends that.
func (s *Store) Fail(method string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail[method] = err
}

func (s *Store) check(method string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fail[method]
}

// Update implements session.Store.
func (s *Store) Update(ctx context.Context, v session.Session, max int) (session.Session, error) {
	if err := s.check("Update"); err != nil {
		return session.Session{}, err
	}
	v, err := s.Store.Update(ctx, v, max)
	return v, s.notify(v.ID, err)
}

// Get implements session.Store.
func (s *Store) Get(ctx context.Context, id session.ID) (session.Session, error) {
	if err := s.check("Get"); err != nil {
		return session.Session{}, err
	}
	return s.Store.Get(ctx, id)
}

// List implements session.Store.
func (s *Store) List(ctx context.Context, q session.Query) (session.Page, error) {
	if err := s.check("List"); err != nil {
		return session.Page{}, err
	}
	return s.Store.List(ctx, q)
}

// Create implements session.Store.
func (s *Store) Create(ctx context.Context, v session.Session, max session.Quota) (session.Session, error) {
	v, err := s.Store.Create(ctx, v, max)
	return v, s.notify(v.ID, err)
}

// Delete implements session.Store.
func (s *Store) Delete(ctx context.Context, id session.ID, revision int64) error {
	return s.notify(id, s.Store.Delete(ctx, id, revision))
}

// notify notifies the watchers unless err is set, and returns err.
func (s *Store) notify(id session.ID, err error) error {
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.watchers {
		w <- id
	}
	return nil
}

// Watch implements lifecycle.Feed.
func (s *Store) Watch(ctx context.Context, missed func(), changed func(session.ID)) error {
	changes := make(chan session.ID, 10_000) // more than a test needs
	s.mu.Lock()
	s.watchers = append(s.watchers, changes)
	s.mu.Unlock()
	missed()
	for {
		select {
		case id := <-changes:
			changed(id)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Profile returns a profile that the engine in memory can run.
func Profile() session.Profile {
	return session.Profile{
		Image: "stub:1", Port: 4096, UID: 10001, GID: 10001, Username: "opencode", PasswordEnv: "OPENCODE_SERVER_PASSWORD",
		Ready:   session.Probe{Path: "/global/health", Member: "healthy", Then: "/path"},
		Volumes: []session.Volume{{Name: session.WorkspaceVolume, Path: "/workspace"}},
	}
}

// Images reads a list of images that sessions may have.
func Images(t testing.TB, list string) []session.ImagePattern {
	t.Helper()
	patterns, err := session.ParseImagePatterns(list)
	if err != nil {
		t.Fatal(err)
	}
	return patterns
}

// alwaysReady is a prober for containers without servers: every probe succeeds.
type alwaysReady struct{}

func (alwaysReady) Probe(context.Context, session.Target) error { return nil }

func (alwaysReady) Busy(context.Context, session.Target) (bool, error) { return false, nil }

// NewFast is like New with containers without servers, for tests that create thousands.
func NewFast(t testing.TB, change ...func(*lifecycle.Options)) *Fixture {
	t.Helper()
	return build(t, runtimetest.NewFake(runtimetest.Options{NoServers: true}), alwaysReady{}, change)
}

// NewTimed is like NewFast with another prober, for tests in a testing/synctest bubble, whose clock it uses.
func NewTimed(t testing.TB, prober session.Prober, change ...func(*lifecycle.Options)) *Fixture {
	t.Helper()
	return build(t, runtimetest.NewFake(runtimetest.Options{NoServers: true}), prober, change)
}

// NewInMemory is like New with servers that listen in memory, for tests in a testing/synctest bubble.
func NewInMemory(t testing.TB, change ...func(*lifecycle.Options)) *Fixture {
	t.Helper()
	network := &pipenet.Network{}
	h := build(t, runtimetest.NewFake(runtimetest.Options{Network: network}), probe.NewOn(network.Dial), change)
	h.Servers = &http.Client{Transport: &http.Transport{DialContext: network.Dial, DisableKeepAlives: true}}
	return h
}

// New returns a fixture that is closed at the end of the test; change may adjust the Manager's options.
func New(t testing.TB, change ...func(*lifecycle.Options)) *Fixture {
	t.Helper()
	return build(t, runtimetest.NewFake(runtimetest.Options{}), probe.New(), change)
}

func build(t testing.TB, engine *runtimetest.Fake, prober session.Prober, change []func(*lifecycle.Options)) *Fixture {
	t.Helper()
	keys, err := access.NewKeys([]byte("the secret of this test"))
	if err != nil {
		t.Fatal(err)
	}
	store, err := jsonfile.Open(filepath.Join(t.TempDir(), "sessions.json"), jsonfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h := &Fixture{
		t: t, Engine: engine, prober: prober, Clock: &Clock{},
		Servers: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		Store:   &Store{Store: store, fail: map[string]error{}},
		Routes:  &Routes{all: map[session.ID]session.Route{}}, Keys: keys,
	}
	h.Options = lifecycle.Options{
		Profiles: map[string]session.Profile{"opencode": Profile()}, Limits: session.Limits{Memory: 1 << 30},
		Images:       Images(t, "*"),
		StartTimeout: 30 * time.Second, StopTimeout: time.Second, ProbeInterval: 10 * time.Millisecond,
		ProbeTimeout: 300 * time.Millisecond, TokenLife: 24 * time.Hour, Now: h.Clock.now,
	}
	for _, f := range change {
		f(&h.Options)
	}
	h.Manager = h.Process()
	t.Cleanup(func() {
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
		h.Engine.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// Process returns a new Manager on the same store and engine, as after a restart of Berth.
func (h *Fixture) Process() *lifecycle.Manager {
	h.t.Helper()
	return h.ProcessOn(h.Engine)
}

// ProcessOn returns a new Manager on the same store and another view of the engine.
func (h *Fixture) ProcessOn(engine session.Runtime) *lifecycle.Manager {
	h.t.Helper()
	return h.ProcessWith(h.Store, engine)
}

// ProcessWith returns a new Manager on another view of store and engine.
func (h *Fixture) ProcessWith(store session.Store, engine session.Runtime) *lifecycle.Manager {
	h.t.Helper()
	m, err := lifecycle.NewManager(store, engine, h.prober, h.Routes, h.Keys, h.Options)
	if err != nil {
		h.t.Fatal(err)
	}
	return m
}

// OtherProcess starts another process on the same store and engine, with routes of its own. It receives change notifications.
func (h *Fixture) OtherProcess(change func(*lifecycle.Options)) (*lifecycle.Manager, *Routes) {
	h.t.Helper()
	opts, routes := h.Options, &Routes{all: map[session.ID]session.Route{}}
	opts.Feed = h.Store
	change(&opts)
	m, err := lifecycle.NewManager(h.Store, h.Engine, h.prober, routes, h.Keys, opts)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx, nil) }()
	h.t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, m.Close(context.WithoutCancel(ctx))); err != nil {
			h.t.Error(err)
		}
	})
	return m, routes
}

// Issued is a session with its token.
type Issued struct {
	lifecycle.Issued
	Token session.Secret
}

// Create creates a session with a new token.
func (h *Fixture) Create(ctx context.Context, req lifecycle.Request) (Issued, error) {
	return h.CreateOn(ctx, h.Manager, req)
}

// CreateOn is Create on the given process.
func (h *Fixture) CreateOn(ctx context.Context, m *lifecycle.Manager, req lifecycle.Request) (Issued, error) {
	token := access.NewToken(32)
	req.TokenDigest = h.Keys.Digest(token)
	made, err := m.Create(ctx, req)
	return Issued{made, token}, err
}

// Rotate rotates the session's token and returns the new one.
func (h *Fixture) Rotate(ctx context.Context, id session.ID) (session.Session, session.Secret, error) {
	return h.RotateOn(ctx, h.Manager, id, 0)
}

// RotateWithGrace is Rotate with a grace for the replaced token.
func (h *Fixture) RotateWithGrace(ctx context.Context, id session.ID, grace time.Duration) (session.Session, session.Secret, error) {
	return h.RotateOn(ctx, h.Manager, id, grace)
}

// RotateOn is RotateWithGrace on the given process.
func (h *Fixture) RotateOn(ctx context.Context, m *lifecycle.Manager, id session.ID, grace time.Duration) (session.Session, session.Secret, error) {
	token := access.NewToken(32)
	s, err := m.Rotate(ctx, id, h.Keys.Digest(token), grace)
	return s, token, err
}

// Make creates a session and waits until it is running.
func (h *Fixture) Make(req lifecycle.Request) (session.Session, session.Secret) {
	h.t.Helper()
	issued, err := h.Create(h.t.Context(), req)
	if err != nil {
		h.t.Fatalf("create: %v", err)
	}
	s, err := issued.Wait(h.t.Context())
	if err != nil {
		h.t.Fatalf("create: %v", err)
	}
	return s, issued.Token
}

// Clear removes all routes, as at the start of a process.
func (r *Routes) Clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.all)
}
