package jsonfile

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/session"
	"berth/internal/storetest"
)

// open opens a store that the test closes at its end.
func open(t *testing.T, path string, opts Options) *Store {
	t.Helper()
	s, err := Open(path, opts)
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

func file(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "sessions.json")
}

func sample(id session.ID) session.Session {
	return session.Session{ID: id, Owner: "ann", Status: session.Stopped, CreatedAt: time.Unix(1770000000, 0), LastAccessed: time.Unix(1770000000, 0)}
}

func create(t *testing.T, s *Store, id session.ID) session.Session {
	t.Helper()
	made, err := s.Create(t.Context(), sample(id), session.Quota{})
	if err != nil {
		t.Fatalf("create %s: %v", id, err)
	}
	return made
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// onDisk decodes a file and its activity log without opening a store.
func onDisk(t *testing.T, path string) image {
	t.Helper()
	content, err := withActivity([]byte(read(t, path)), path)
	if err != nil {
		t.Fatal(err)
	}
	im, err := decode(content)
	if err != nil {
		t.Fatalf("%s %v", filepath.Base(path), err)
	}
	return im
}

func TestStoreSuite(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) session.Store { return open(t, file(t), Options{}) })
}

func TestStoreModel(t *testing.T) {
	t.Parallel()
	storetest.Model(t, func(t *testing.T) session.Store { return open(t, file(t), Options{}) })
}

// reopeningStore reopens its store before about every fifth call, so that its sessions are read from the file.
type reopeningStore struct {
	t     *testing.T
	path  string
	calls atomic.Int64
	mu    sync.RWMutex // held for reading by calls, so that a race stays one
	store *Store
}

func (f *reopeningStore) use() (store *Store, done func()) {
	if f.calls.Add(1)%5 == 0 && f.mu.TryLock() { // nobody else is calling
		if err := f.store.Close(); err != nil {
			f.t.Errorf("close: %v", err)
		}
		store, err := Open(f.path, Options{})
		if err != nil {
			f.t.Errorf("open again: %v", err)
		} else {
			f.store = store
		}
		f.mu.Unlock()
	}
	f.mu.RLock()
	return f.store, f.mu.RUnlock
}

func (f *reopeningStore) Create(ctx context.Context, s session.Session, max session.Quota) (session.Session, error) {
	store, done := f.use()
	defer done()
	return store.Create(ctx, s, max)
}

func (f *reopeningStore) Get(ctx context.Context, id session.ID) (session.Session, error) {
	store, done := f.use()
	defer done()
	return store.Get(ctx, id)
}

func (f *reopeningStore) Update(ctx context.Context, s session.Session, max int) (session.Session, error) {
	store, done := f.use()
	defer done()
	return store.Update(ctx, s, max)
}

func (f *reopeningStore) Delete(ctx context.Context, id session.ID, revision int64) error {
	store, done := f.use()
	defer done()
	return store.Delete(ctx, id, revision)
}

func (f *reopeningStore) List(ctx context.Context, q session.Query) (session.Page, error) {
	store, done := f.use()
	defer done()
	return store.List(ctx, q)
}

func (f *reopeningStore) Touch(ctx context.Context, at map[session.ID]time.Time) error {
	store, done := f.use()
	defer done()
	return store.Touch(ctx, at)
}

func (f *reopeningStore) Ping(ctx context.Context) error {
	store, done := f.use()
	defer done()
	return store.Ping(ctx)
}

func openReopening(t *testing.T) session.Store {
	f := &reopeningStore{t: t, path: file(t)}
	var err error
	if f.store, err = Open(f.path, Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.store.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return f
}

func TestStoreSuiteWithReopening(t *testing.T) {
	t.Parallel()
	storetest.Run(t, openReopening)
}

func TestStoreModelWithReopening(t *testing.T) {
	t.Parallel()
	storetest.Model(t, openReopening)
}

func TestActivityIsWrittenWithinASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := file(t)
		s := open(t, path, Options{})
		create(t, s, "ses-a")
		before := read(t, path)
		for i := range 9 {
			if err := s.Touch(t.Context(), map[session.ID]time.Time{"ses-a": time.Unix(1770000001+int64(i), 0)}); err != nil {
				t.Fatal(err)
			}
			if read(t, path) != before {
				t.Error("a touch was written at once, want it to wait for others")
			}
			time.Sleep(touchDelay / 10) //nolint:forbidigo // the bubble's clock
		}
		time.Sleep(touchDelay / 10) //nolint:forbidigo // the bubble's clock
		synctest.Wait()
		if got, want := onDisk(t, path).sessions["ses-a"].session.LastAccessed, time.Unix(1770000009, 0); !got.Equal(want) {
			t.Errorf("a second after the first touch the file says %s, want %s", got, want)
		}
	})
}

func TestCloseWritesActivityAndIsIdempotent(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path, Options{})
	create(t, s, "ses-a")
	at := time.Unix(1770000009, 0)
	if err := s.Touch(t.Context(), map[session.ID]time.Time{"ses-a": at}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	if got := onDisk(t, path).sessions["ses-a"].session.LastAccessed; !got.Equal(at) {
		t.Errorf("after close the file says last accessed %s, want %s", got, at)
	}

	_, errCreate := s.Create(t.Context(), sample("ses-b"), session.Quota{})
	_, errGet := s.Get(t.Context(), "ses-a")
	_, errUpdate := s.Update(t.Context(), sample("ses-a"), 0)
	_, errList := s.List(t.Context(), session.Query{})
	errs := []error{errCreate, errGet, errUpdate, errList, s.Delete(t.Context(), "ses-a", 1), s.Touch(t.Context(), nil), s.Ping(t.Context())}
	for i, err := range errs {
		if session.CodeOf(err) != session.CodeStoreUnavailable {
			t.Errorf("call %d on a closed store: got %v, want a CodeStoreUnavailable error", i, err)
		}
	}
}

func TestUnencodableSessionIsRejected(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path, Options{})
	good := create(t, s, "ses-a")
	deep := any("x")
	for range 9_999 { // one level less is read by itself, but not as a part of a file
		deep = []any{deep}
	}
	with := func(change func(*session.Session)) session.Session {
		s := sample("ses-b")
		change(&s)
		return s
	}
	for name, bad := range map[string]session.Session{
		"a function in metadata": with(func(s *session.Session) { s.Metadata = map[string]any{"f": func() {}} }),
		"metadata too deep":      with(func(s *session.Session) { s.Metadata = map[string]any{"deep": deep} }),
		"no ID":                  with(func(s *session.Session) { s.ID = "" }),
		"an ID of no UTF-8":      with(func(s *session.Session) { s.ID = "a\xff" }),
		"an unknown status":      with(func(s *session.Session) { s.Status = "lost" }),
		"a time without a form":  with(func(s *session.Session) { s.ExpiresAt = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC) }),
	} {
		if _, err := s.Create(t.Context(), bad, session.Quota{}); session.CodeOf(err) != session.CodeInvalid {
			t.Errorf("create with %s: got %v, want a CodeInvalid error", name, err)
		}
		if bad.ID != "ses-b" {
			continue
		}
		bad.ID, bad.Revision = "ses-a", good.Revision
		if _, err := s.Update(t.Context(), bad, 0); session.CodeOf(err) != session.CodeInvalid {
			t.Errorf("update with %s: got %v, want a CodeInvalid error", name, err)
		}
	}
	got, err := s.Get(t.Context(), "ses-a")
	if diff := cmp.Diff(good, got); diff != "" || err != nil {
		t.Errorf("the session after refused updates: %v (-want +got):\n%s", err, diff)
	}
	if n := len(onDisk(t, path).sessions); n != 1 {
		t.Errorf("the file has %d sessions, want 1", n)
	}
}

func TestInvalidUTF8IsSameInMemoryAndFile(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path, Options{})
	bad := sample("ses-a")
	bad.LastError = "a\xffb"
	made, err := s.Create(t.Context(), bad, session.Quota{})
	if err != nil {
		t.Fatal(err)
	}
	if got := onDisk(t, path).sessions["ses-a"].session.LastError; got != made.LastError || !strings.HasPrefix(got, "a") {
		t.Errorf("the file has %q, memory %q; want the same", got, made.LastError)
	}
}
