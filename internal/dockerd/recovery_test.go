package dockerd

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"berth/internal/fileset"
)

func TestSetupRolledBackWhenEngineAcceptsUnverifiedClients(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.lax = true
	before := m.state(t)
	s := m.setup(t)
	plan := mustPlan(t, s)
	err := s.Apply(t.Context(), plan)
	if !isRolledBack(err, stepVerify) || !strings.Contains(err.Error(), "does not refuse") {
		t.Errorf("apply: %v, want it to be rolled back because unauthenticated clients are accepted", err)
	}
	mustEqual(t, "after the rollback", before, m.state(t))
}

// TestRollbackStopsEngineThatDidNotRun is a machine with the source document's conflict: its engine has never come up.
func TestRollbackStopsEngineThatDidNotRun(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.stop()
	before := m.state(t)
	m.fail["service docker restart"] = exitError(1)
	s := m.setup(t)
	plan, err := s.Plan(t.Context())
	if err != nil || plan.Engine != "" {
		t.Fatalf("plan: engine %q, %v; want none", plan.Engine, err)
	}
	if err := s.Apply(t.Context(), plan); !isRolledBack(err, stepRestart) {
		t.Fatalf("apply: %v, want it to be rolled back", err)
	}
	mustEqual(t, "after the rollback", before, m.state(t))
	if !slices.Contains(m.ran, "service docker stop") {
		t.Errorf("ran %q, want the engine to be stopped again", m.ran)
	}
	clear(m.fail)
	mustApply(t, m.setup(t))
	if err := m.setup(t).Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

// A failed rollback keeps the journal, so that the set-up can be undone or completed later.
func TestFailedRollbackIsReported(t *testing.T) {
	t.Parallel()
	for _, goOn := range []bool{false, true} {
		m := newMachine(t)
		before := m.state(t)
		m.fail["service docker restart"] = exitError(1)
		s := m.setup(t)
		plan := mustPlan(t, s)
		err := s.Apply(t.Context(), plan)
		failed, ok := errors.AsType[*FailedError](err)
		if !ok || failed.Back == nil || !strings.Contains(failed.Hint(), "--undo") || strings.Contains(err.Error(), "as it was before") {
			t.Fatalf("apply: %v; want it to say that the rollback failed, and to advise an undo", err)
		}
		clear(m.fail)
		if goOn {
			mustApply(t, m.setup(t))
			if err := m.setup(t).Verify(t.Context()); err != nil {
				t.Errorf("set-up after a rollback that failed: %v", err)
			}
		}
		if err := WithoutMaterial(m.host(), Options{}).Undo(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustEqual(t, "after the undo", before, m.state(t))
		if err := s.answers(t.Context(), plan.Engine); err != nil {
			t.Errorf("the engine after the undo: %v", err)
		}
	}
}

// TestInterruptedUndo interrupts an undo before each of its changes; the next one completes it, and no set-up starts before.
func TestInterruptedUndo(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	before := m.state(t)
	injected := errors.New("injected fault")
	for at, done := 0, false; !done; at++ {
		mustApply(t, m.setup(t))
		left, point := at, "nothing"
		s := WithoutMaterial(m.host(), Options{})
		s.before = func(p string) error {
			if left--; left == -1 {
				point = p
				return injected
			}
			return nil
		}
		err := s.Undo(t.Context())
		if done = err == nil; !done {
			if !errors.Is(err, injected) {
				t.Fatalf("undo that is interrupted before %q: %v", point, err)
			}
			if at > 0 {
				if _, err := m.setup(t).Plan(t.Context()); err == nil || !strings.Contains(err.Error(), "undo was interrupted") {
					t.Errorf("set-up after an undo that was interrupted before %q: %v, want it to be refused", point, err)
				}
			}
			if err := WithoutMaterial(m.host(), Options{}).Undo(t.Context()); err != nil {
				t.Fatalf("undo after one that was interrupted before %q: %v", point, err)
			}
		}
		mustEqual(t, "undone after an interruption before "+point, before, m.state(t))
		if done && at < 8 {
			t.Errorf("only %d points at which an undo can be interrupted: the hook no longer sees the changes", at)
		}
	}
}

func TestInterruptedSetUpIsRolledBack(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	before := m.state(t)
	s := m.setup(t)
	plan := mustPlan(t, s)
	ctx, cancel := context.WithCancelCause(t.Context())
	signal := errors.New("signal")
	s.before = func(point string) error {
		if point == stepVerify {
			cancel(signal)
		}
		return nil
	}
	if err := s.Apply(ctx, plan); !isRolledBack(err, stepVerify) || !errors.Is(err, signal) {
		t.Errorf("apply: %v, want it to be rolled back because of the signal", err)
	}
	mustEqual(t, "after the rollback", before, m.state(t))
}

// A damaged backup is not restored: its content cannot be trusted.
func TestDamagedBackupIsNotRestored(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := record{Path: filepath.Join(dir, "a"), Backup: filepath.Join(dir, "b"), SHA256: digest([]byte("good")), Mode: 0o600, UID: os.Getuid(), GID: os.Getgid()}
	if err := r.putBack(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without its backup: %v, want %v", err, fs.ErrNotExist)
	}
	put(t, dir, "b", "bad")
	if err := r.putBack(); err == nil || fileset.Exists(r.Path) {
		t.Errorf("with a spoiled backup: %v, want it to be left alone", err)
	}
	put(t, dir, "b", "good")
	if err := r.putBack(); err != nil || string(read(t, r.Path)) != "good" {
		t.Errorf("with its backup: %v", err)
	}
}
