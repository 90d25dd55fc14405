package jsonfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"berth/internal/session"
)

// smallDisk mounts a disk of this size, in the form of tmpfs's option.
func smallDisk(t *testing.T, size string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size+",mode=0700"); err != nil {
		if os.Getenv("BERTH_TEST_REQUIRE") == "1" {
			t.Fatalf("a small disk needs root: %v", err)
		}
		t.Skipf("a small disk needs root: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fill uses all free space of the disk of a file.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

func TestFullDiskAcceptsChangesThatFreeResources(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, "4m")
	path, filler := filepath.Join(dir, "sessions.json"), filepath.Join(dir, "filler")
	s := open(t, path, Options{})
	running := func(id session.ID) session.Session {
		v := sample(id)
		v.Status = session.Running
		made, err := s.Create(t.Context(), v, session.Quota{})
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	a, b := running("ses-a"), running("ses-b")
	stopped := create(t, s, "ses-c")
	wantOwnerOnly(t, path+reserveSuffix)

	for round := range 4 { // each time, what became free is taken at once
		fill(t, filler)
		_, err := s.Create(t.Context(), sample("ses-d"), session.Quota{})
		wantUnavailable(t, err, "create on a full disk")
		if !strings.Contains(session.MessageOf(err), "full") {
			t.Errorf("the message is %q, want it to say that the disk is full", session.MessageOf(err))
		}
		start := stopped
		start.Operation = &session.Operation{Kind: session.OpStart}
		_, err = s.Update(t.Context(), start, session.Unlimited)
		wantUnavailable(t, err, "start on a full disk")
		wantUnavailable(t, s.Ping(t.Context()), "ping of a full disk")

		a.Token.Digest = strings.Repeat("0", round+1)
		if a, err = s.Update(t.Context(), a, session.Unlimited); err != nil {
			t.Fatalf("round %d: rotation on a full disk: %v", round, err)
		}
	}
	fill(t, filler)
	b.Operation = &session.Operation{Kind: session.OpStop}
	b, err := s.Update(t.Context(), b, session.Unlimited)
	if err != nil {
		t.Fatalf("stop on a full disk: %v", err)
	}
	fill(t, filler)
	b.Operation, b.Status = nil, session.Stopped
	if b, err = s.Update(t.Context(), b, session.Unlimited); err != nil {
		t.Fatalf("end of a stop on a full disk: %v", err)
	}
	fill(t, filler)
	if err := s.Delete(t.Context(), "ses-b", b.Revision); err != nil {
		t.Fatalf("delete on a full disk: %v", err)
	}
	wantAgreement(t, s, path, "ses-a", "ses-c")

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("ping when there is space again: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path, Options{})
	if got := sizeOf(t, path+reserveSuffix); got < minReserve {
		t.Errorf("when there is space again the reserve has %d bytes, want at least %d", got, minReserve)
	}
}

func TestReserveIsLimitedOnSmallDisk(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, "128k")
	path := filepath.Join(dir, "sessions.json")
	s := open(t, path, Options{})
	create(t, s, "ses-a")
	if got := sizeOf(t, path+reserveSuffix); got == 0 || got > 128<<10/reserveShare {
		t.Errorf("the reserve has %d bytes of a disk of 128 KiB, want some and at most an eighth", got)
	}
	fill(t, filepath.Join(dir, "filler"))
	if err := s.Delete(t.Context(), "ses-a", 1); err != nil {
		t.Errorf("delete on a full small disk: %v", err)
	}
}

func TestFullDiskWritesOnlyFreeingChangesOfBatch(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, "4m")
	path := filepath.Join(dir, "sessions.json")
	var disk faults
	s := open(t, path, Options{fault: disk.reach})
	create(t, s, "ses-a")
	created, deleted, first := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	reached, release := hold(&disk)
	go func() { _, err := s.Create(t.Context(), sample("ses-b"), session.Quota{}); first <- err }()
	<-reached
	go func() { _, err := s.Create(t.Context(), sample("ses-c"), session.Quota{}); created <- err }()
	waitForQueue(t, s, 1)
	go func() { deleted <- s.Delete(t.Context(), "ses-a", 1) }()
	waitForQueue(t, s, 2)
	fill(t, filepath.Join(dir, "filler"))
	release()
	wantUnavailable(t, <-first, "a create on a full disk")
	wantUnavailable(t, <-created, "a create beside a delete on a full disk")
	wantDone(t, <-deleted)
	wantAgreement(t, s, path)
}
