package jsonfile_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/session"
	"berth/internal/storage/jsonfile"
)

// files returns what is in a directory, with the time of each change.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[f.Name()] = info.ModTime().String() + string(text)
	}
	return all
}

func TestReadSessionsWritesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "sessions.json")
	for _, missing := range []string{path, filepath.Join(dir, "nowhere", "sessions.json")} {
		if _, err := jsonfile.ReadOnly(t.Context(), missing); session.CodeOf(err) != session.CodeNotFound {
			t.Errorf("%s: got %v, want it not found", missing, err)
		}
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("a look at nothing has made %v", got)
	}

	store, err := jsonfile.Open(path, jsonfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := session.Session{
		ID: session.NewID(), ContainerName: "opencode-a", CreatedAt: time.Now().UTC().Truncate(time.Microsecond), Status: session.Stopped,
	}
	s.LastAccessed = s.CreatedAt
	if _, err := store.Create(t.Context(), s, session.Quota{}); err != nil {
		t.Fatal(err)
	}
	if _, err := jsonfile.ReadOnly(t.Context(), path); session.CodeOf(err) != session.CodeStoreUnavailable {
		t.Errorf("while it is open: got %v, want it in use", err)
	}
	used := s.CreatedAt.Add(time.Hour)
	if err := store.Touch(t.Context(), map[session.ID]time.Time{s.ID: used}); err != nil {
		t.Fatal(err)
	}
	store.Flush()
	killed := t.TempDir() // as a process that was killed leaves it, with activity in its log
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	before := files(t, killed)
	contents, err := jsonfile.ReadOnly(t.Context(), filepath.Join(killed, "sessions.json"))
	got := contents.Sessions
	if err != nil || len(got) != 1 || got[0].ID != s.ID || !got[0].LastAccessed.Equal(used) {
		t.Errorf("got %+v, %v; want the session with its newest activity", got, err)
	}
	if diff := cmp.Diff(before, files(t, killed)); diff != "" {
		t.Errorf("the look has changed (-before +after):\n%s", diff)
	}
}
