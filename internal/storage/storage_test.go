package storage_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"berth/internal/config"
	"berth/internal/session"
	"berth/internal/storage"
)

// settings has a file as the store, and an engine.
func settings(t *testing.T) config.Config {
	t.Helper()
	cfg, err := config.Load(config.Options{Overrides: map[string]string{
		"BERTH_STATE_DIR": filepath.Join(t.TempDir(), "state"), "DOCKER_HOST": "tcp://engine.invalid:2376",
	}})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func open(t *testing.T, cfg config.Config) *storage.Storage {
	t.Helper()
	dir, err := storage.OpenDir(cfg.Server.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := storage.Open(t.Context(), cfg, dir, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// engine is a scriptable engine.
type engine struct {
	replaced      string
	remnants      []session.Remnant
	installations map[string]map[session.ID]bool
	answers       map[string]bool

	mu      sync.Mutex
	owner   session.EngineOwner
	removed []string
	closed  int
}

func (e *engine) Claim(_ context.Context, owner session.EngineOwner, _ bool) (string, error) {
	e.owner = owner
	return e.replaced, nil
}

func (e *engine) KeepOwned(ctx context.Context, _ session.EngineOwner) error {
	<-ctx.Done()
	return nil
}

func (e *engine) Installations(context.Context) (map[string]map[session.ID]bool, error) {
	return e.installations, nil
}

func (e *engine) Answers(_ context.Context, instance string, _ session.EngineOwner) (bool, error) {
	return e.answers[instance], nil
}

func (e *engine) Remnants(context.Context, func(string) session.Secret) ([]session.Remnant, error) {
	return e.remnants, nil
}

func (e *engine) Remove(_ context.Context, ref string, _ bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.removed = append(e.removed, ref)
	return nil
}

func (e *engine) Close() error { e.closed++; return nil }

func TestReopenedFileKeepsIdentity(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	first := open(t, cfg)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := open(t, cfg)
	if first.Identity != second.Identity || first.Identity.Instance == "" || first.Identity.Secret == "" {
		t.Error("a second start has another identity, or none")
	}
	if first.Process == second.Process {
		t.Errorf("both starts are called %s in records", first.Process)
	}
	if second.Feed != nil || second.Peers != nil {
		t.Error("a file has a feed or peers, want none")
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(cfg.Server.StateDir, "instance")); err != nil {
		t.Fatal(err)
	}
	if third := open(t, cfg); third.Identity != first.Identity {
		t.Error("the sessions' installation is not taken from the file that has them")
	}
}

func TestClaimThatReplacesOwnerHoldsOrphans(t *testing.T) {
	t.Parallel()
	for replaced, held := range map[string]bool{"": false, "elsewhere": true} {
		s, e := open(t, settings(t)), &engine{replaced: replaced}
		if err := s.Claim(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if e.owner.ID == "" || e.owner.Process != s.Process {
			t.Errorf("claimed as %+v, want the state directory and this process", e.owner)
		}
		if before, err := s.Hold.Before(t.Context()); err != nil || before.IsZero() == held {
			t.Errorf("replacing %q: held before %v (%v), want a hold: %v", replaced, before, err, held)
		}
	}
}

func TestUnmanagedForeignSessionsAreReported(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	s := open(t, cfg)
	e := &engine{
		installations: map[string]map[session.ID]bool{
			s.Identity.Instance: {"ses-own": true}, "ses-managed": {"ses-b": true}, "ses-unmanaged": {"ses-c": true, "ses-d": true},
		},
		answers: map[string]bool{"ses-managed": true},
	}
	if err := s.Claim(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var work errgroup.Group
	leave := s.Run(ctx, &work, func() {})
	for deadline := time.Now().Add(10 * time.Second); s.ForeignSessions() == ""; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not reported within 10 s")
		}
	}
	if got := s.ForeignSessions(); !strings.Contains(got, "ses-unmanaged (2 sessions)") || strings.Contains(got, "ses-managed") || strings.Contains(got, "(1 sessions)") {
		t.Errorf("got %q, want it about the installation without a Berth", got)
	}
	if err := os.Remove(filepath.Join(cfg.Server.StateDir, "new-installation")); err != nil {
		t.Fatal(err)
	}
	if got := s.ForeignSessions(); got != "" {
		t.Errorf("got %q after the note was removed, want nothing", got)
	}
	cancel()
	leave()
	if err := work.Wait(); err != nil {
		t.Errorf("run: %v", err)
	}
}

func TestAdoptRecordsSessionsOfEngine(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	ids := []session.ID{session.NewID(), session.NewID(), session.NewID()}
	e := &engine{
		installations: map[string]map[session.ID]bool{"ses-gezdgnbvgy3tqojq": {ids[0]: true}},
		remnants: []session.Remnant{
			{Session: ids[0], ContainerName: "a", Container: &session.Container{ID: "1", State: session.StateRunning}, Fits: true},
			{Session: ids[1], ContainerName: "b", Container: &session.Container{ID: "2", State: session.StateRunning}},
			{Session: ids[2], ContainerName: "c"},
			{Session: "no id", ContainerName: "d"},
		},
	}
	adopt := func(opts storage.AdoptOptions) storage.AdoptReport {
		t.Helper()
		report, err := storage.Adopt(t.Context(), cfg, opts, func(context.Context, string) (storage.Engine, error) { return e, nil }, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	want := map[session.ID]session.Status{ids[0]: session.Running, ids[1]: session.Stopped, ids[2]: session.Stopped, "no id": ""}
	for _, dry := range []bool{true, false} {
		report := adopt(storage.AdoptOptions{DryRun: dry})
		got := map[session.ID]session.Status{}
		for _, s := range report.Sessions {
			got[s.ID] = s.Status
		}
		if diff := cmp.Diff(want, got); diff != "" || report.Installation != "ses-gezdgnbvgy3tqojq" {
			t.Errorf("dry %v: installation %s, sessions (-want +got): %s", dry, report.Installation, diff)
		}
		if dry && (len(e.removed) > 0 || e.owner.ID != "") {
			t.Errorf("a dry run removed %v and claimed as %+v", e.removed, e.owner)
		}
	}
	if diff := cmp.Diff([]string{"2"}, e.removed); diff != "" {
		t.Errorf("removed containers (-want +got): %s", diff)
	}
	if e.closed != 4 {
		t.Errorf("engines closed %d times, want each of the two of each run", e.closed)
	}
	s := open(t, cfg)
	for id, status := range want {
		if v, err := s.Store.Get(t.Context(), id); status != "" && (err != nil || v.Status != status || v.LastError == "" || v.ContainerName == "") {
			t.Errorf("%s: recorded as %+v, %v, want it %s with a note", id, v, err, status)
		}
	}
	if before, err := s.Hold.Before(t.Context()); err != nil || before.IsZero() {
		t.Errorf("held before %v, %v; want a hold, because one container has no record", before, err)
	}
	if s.Identity.Instance != "ses-gezdgnbvgy3tqojq" {
		t.Errorf("this is the installation %s, want the adopted one", s.Identity.Instance)
	}
}
