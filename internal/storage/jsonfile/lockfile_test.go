package jsonfile_test

import (
	"os"
	"path/filepath"
	"testing"

	"berth/internal/session"
	"berth/internal/storage/jsonfile"
)

func TestLockedFileCannotBeOpened(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sessions.json")
	if locked, err := jsonfile.LockFile(path); err != nil || locked != nil {
		t.Fatalf("no file: got %v, %v; want nothing", locked, err)
	}
	store, err := jsonfile.Open(path, jsonfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []session.ID{"ses-a", "ses-b"} { // the second write leaves a previous version
		if _, err := store.Create(t.Context(), session.Session{ID: id, Status: session.Stopped}, session.Quota{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := jsonfile.LockFile(path); session.CodeOf(err) != session.CodeStoreUnavailable {
		t.Errorf("a file in use: got %v, want %s", err, session.CodeStoreUnavailable)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}

	locked, err := jsonfile.LockFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jsonfile.Open(path, jsonfile.Options{}); session.CodeOf(err) != session.CodeStoreUnavailable {
		t.Errorf("open of a locked file: got %v, want %s", err, session.CodeStoreUnavailable)
	}
	backup, err := locked.Retire("migrated")
	if err != nil {
		t.Fatal(err)
	}
	locked.Release()
	kept, err := os.ReadFile(backup)
	if err != nil || string(kept) != string(locked.Data) {
		t.Errorf("the backup holds %q, %v; want what was in the file", kept, err)
	}
	again, err := jsonfile.Open(path, jsonfile.Options{})
	if err != nil {
		t.Fatalf("open in place of a retired file: %v", err)
	}
	defer again.Close() //nolint:errcheck // nothing was written
	if page, err := again.List(t.Context(), session.Query{}); err != nil || len(page.Sessions) != 0 {
		t.Errorf("got %d sessions, %v; want an empty store", len(page.Sessions), err)
	}
}
