package jsonfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/internal/session"
)

const (
	good    = `{"session_id":"ses-a","status":"stopped","revision":1}`
	goodOne = `{"berth_store":1,"sessions":{"ses-a":` + good + `}}`
)

// used returns the path of a file with two sessions and of which the previous version has one.
func used(t *testing.T) string {
	t.Helper()
	path := file(t)
	s := open(t, path, Options{})
	create(t, s, "ses-a")
	create(t, s, "ses-b")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantRefused checks that the file cannot be opened, that the message has these words, and that no file was changed.
func wantRefused(t *testing.T, path string, words ...string) (message string) {
	t.Helper()
	before := snapshot(t, filepath.Dir(path))
	s, err := Open(path, Options{})
	if err == nil {
		t.Cleanup(func() { _ = s.Close() })
		t.Fatal("the file was opened, want it refused")
	}
	wantUnavailable(t, err, "open")
	for _, w := range words {
		if !strings.Contains(session.MessageOf(err), w) {
			t.Errorf("the message is %q, want it to say %q", session.MessageOf(err), w)
		}
	}
	if diff := cmp.Diff(before, snapshot(t, filepath.Dir(path))); diff != "" {
		t.Errorf("the refusal changed files (-before +after):\n%s", diff)
	}
	return session.MessageOf(err)
}

// snapshot reads every file but the lock.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, n := range names {
		if n.Type().IsRegular() && !strings.HasSuffix(n.Name(), lockSuffix) {
			found[n.Name()] = read(t, filepath.Join(dir, n.Name()))
		}
	}
	return found
}

func TestTruncatedFileIsRejected(t *testing.T) {
	t.Parallel()
	path := used(t)
	whole := read(t, path)
	for n := range len(whole) {
		im, err := decode([]byte(whole[:n]))
		if err != nil {
			continue
		}
		if n != len(whole)-1 || len(im.sessions) != 2 { // all but the last line feed
			t.Fatalf("the first %d of %d bytes are read as %d sessions, want them refused", n, len(whole), len(im.sessions))
		}
	}
	for n := 0; n < len(whole)-1; n += 40 {
		write(t, path, whole[:n])
		wantRefused(t, path, "cut off", path+previousSuffix)
	}
}

func TestForeignAndDamagedFilesAreRejected(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ content, says string }{
		"another program's":        {`{"sessions":{}}`, "is not a Berth session store"},
		"a list":                   {`[]`, "is not a Berth session store"},
		"null":                     {`null`, "is not a Berth session store"},
		"text":                     {"hello", "is not JSON"},
		"zeros":                    {strings.Repeat("\x00", 512), "is not JSON"},
		"empty":                    {"", "is empty"},
		"a byte order mark":        {"\ufeff" + goodOne, "is not JSON"},
		"version as text":          {`{"berth_store":"1","sessions":{}}`, "is not a Berth session store"},
		"version 0":                {`{"berth_store":0,"sessions":{}}`, "is not a Berth session store"},
		"version 2":                {`{"berth_store":2,"sessions":{}}`, "newer Berth"},
		"version 2, other shape":   {`{"berth_store":2,"rooms":[]}`, "newer Berth"},
		"no sessions":              {`{"berth_store":1}`, "is damaged"},
		"sessions null":            {`{"berth_store":1,"sessions":null}`, "is damaged"},
		"sessions a list":          {`{"berth_store":1,"sessions":[]}`, "is damaged"},
		"a session null":           {`{"berth_store":1,"sessions":{"ses-a":null}}`, "is damaged"},
		"a session twice":          {`{"berth_store":1,"sessions":{"ses-a":` + good + `,"ses-a":` + good + `}}`, "occurs twice"},
		"a column twice":           {strings.Replace(goodOne, `"status"`, `"status":"running","status"`, 1), "occurs twice"},
		"sessions twice":           {strings.Replace(goodOne, `"sessions"`, `"sessions":{},"sessions"`, 1), "occurs twice"},
		"under another's name":     {strings.Replace(goodOne, `"ses-a":`, `"ses-b":`, 1), "session_id"},
		"without a session_id":     {strings.Replace(goodOne, `session_id`, `id`, 1), "session_id"},
		"a column's name in caps":  {strings.Replace(goodOne, `session_id`, `SESSION_ID`, 1), "session_id"},
		"an unknown status":        {strings.Replace(goodOne, `stopped`, `resting`, 1), "status"},
		"without a revision":       {strings.Replace(goodOne, `"revision":1`, `"port":1`, 1), "revision"},
		"a column of another type": {strings.Replace(goodOne, `"revision":1`, `"revision":"1"`, 1), "column revision"},
		"a time that is none":      {strings.Replace(goodOne, `"revision"`, `"created_at":"noon","revision"`, 1), "column created_at"},
		"bytes that are no UTF-8":  {strings.Replace(goodOne, `"revision"`, "\"owner\":\"a\xffb\",\"revision\"", 1), "UTF-8"},
		"two texts":                {goodOne + goodOne, "is not JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := used(t)
			write(t, path, test.content)
			wantRefused(t, path, path, test.says, path+previousSuffix, "cp -p")

			alone := file(t)
			write(t, alone, test.content)
			message := wantRefused(t, alone, alone, test.says, "no previous version")
			if strings.Contains(message, "cp -p") {
				t.Errorf("the message is %q; there is no copy to restore", message)
			}
		})
	}
}

func TestLoadErrorCommandRestoresPreviousVersion(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(path string) error{
		"cut off": func(path string) error { return os.Truncate(path, 100) },
		"missing": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "it's here.json")
			s := open(t, path, Options{})
			create(t, s, "ses-a")
			create(t, s, "ses-b")
			if err := errors.Join(s.Close(), spoil(path)); err != nil {
				t.Fatal(err)
			}
			message := wantRefused(t, path, path+previousSuffix)
			_, command, ok := strings.Cut(message, "run: ")
			if !ok {
				t.Fatalf("the message %q gives no command", message)
			}
			if out, err := exec.CommandContext(t.Context(), "sh", "-c", command).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", command, err, out)
			}
			wantAgreement(t, open(t, path, Options{}), path, "ses-a")
		})
	}
}

func TestPathThatIsNoRegularFileIsRejected(t *testing.T) {
	t.Parallel()
	dir := file(t)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, dir, "not a regular file")

	dangling := file(t)
	if err := os.Symlink(dangling+".elsewhere", dangling); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, dangling, "dangling symbolic link")

	if _, err := Open(filepath.Join(t.TempDir(), "nowhere", "sessions.json"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("open in a directory that does not exist: got %v, want it to say so", err)
	}
}

func TestSymbolicLinkIsKeptAndTargetWritten(t *testing.T) {
	t.Parallel()
	target, link := file(t), file(t)
	write(t, target, goodOne)
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	s := open(t, link, Options{})
	create(t, s, "ses-b")
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced by a file (%v)", err)
	}
	wantAgreement(t, s, target, "ses-a", "ses-b")
	if _, err := Open(target, Options{}); err == nil {
		t.Error("the file was opened twice, by two names")
	}
}

func TestUnknownMembersAreKept(t *testing.T) {
	t.Parallel()
	path := file(t)
	write(t, path, `{"berth_store":1,"note":{"a":[1,2]},"sessions":{
		"ses-a":{"session_id":"ses-a","status":"stopped","revision":1,"colour":"blue","limits":{"cpu":1.50}},
		"ses-b":{"session_id":"ses-b","status":"stopped","revision":4,"colour":null}}}`)
	s := open(t, path, Options{})
	a, err := s.Get(t.Context(), "ses-a")
	if err != nil {
		t.Fatal(err)
	}
	a.Owner = "ann"
	if _, err := s.Update(t.Context(), a, 0); err != nil {
		t.Fatal(err)
	}
	create(t, s, "ses-c")
	var got struct {
		Note     json.RawMessage
		Sessions map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal([]byte(read(t, path)), &got); err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string][2]string{
		"envelope":          {string(got.Note), `{"a":[1,2]}`},
		"updated session":   {string(got.Sessions["ses-a"]["colour"]), `"blue"`},
		"updated, nested":   {string(got.Sessions["ses-a"]["limits"]), `{"cpu":1.50}`},
		"the update":        {string(got.Sessions["ses-a"]["owner"]), `"ann"`},
		"untouched session": {string(got.Sessions["ses-b"]["colour"]), `null`},
		"new session":       {string(got.Sessions["ses-c"]["colour"]), ""},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: got %s, want %s", what, pair[0], pair[1])
		}
	}
}

func TestColumnsHaveContractNames(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path, Options{})
	create(t, s, "ses-a")
	var got struct {
		Sessions map[string]map[string]any
	}
	if err := json.Unmarshal([]byte(read(t, path)), &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"session_id", "container_name", "container_id", "host_dir", "port", "auth_token", "created_at", "last_accessed", "status", "metadata",
		"owner", "image", "profile", "host", "token_expires_at", "token_rotated_at", "expires_at", "last_error", "operation",
		"operation_owner", "operation_deadline", "restart_count", "revision", "stop_reason", "timeline", "previous_auth_token", "previous_token_expires_at",
		"image_source", "upgrade", "sign_in_links", "sign_ins", "shape",
	} {
		if _, ok := got.Sessions["ses-a"][name]; !ok {
			t.Errorf("there is no column %s", name)
		}
		delete(got.Sessions["ses-a"], name)
	}
	if len(got.Sessions["ses-a"]) != 0 {
		t.Errorf("there are other columns: %v", got.Sessions["ses-a"])
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(goodOne))
	f.Add([]byte(`{"berth_store":1,"x":1e400,"sessions":{"a":{"session_id":"a","status":"error","revision":7,"created_at":"2026-01-01T00:00:00.1234567+01:00","metadata":{"a":[null]},"operation":"stop","y":" "}}}`))
	f.Add([]byte(`{"berth_store":2}`))
	f.Add([]byte(`{"berth_store":1,"sessions":{}} `))
	f.Add([]byte(`{"berth_store":1,"sessions":{"\ud800":{}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		im, err := decode(data)
		if err != nil {
			return
		}
		back, err := decode(im.encode())
		if err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
		if diff := cmp.Diff(sessionsOf(im), sessionsOf(back)); diff != "" || len(im.extra) != len(back.extra) {
			t.Fatalf("read, written and read again (-first +second):\n%s", diff)
		}
		for id, e := range im.sessions {
			again, err := seal(e.session, e.extra)
			if err != nil {
				t.Fatalf("session %q cannot be written: %v", id, err)
			}
			if diff := cmp.Diff(e.session, again.session); diff != "" || fmt.Sprint(e.extra) != fmt.Sprint(again.extra) {
				t.Fatalf("session %q after it was written anew (-first +second):\n%s", id, diff)
			}
		}
	})
}

func sessionsOf(im image) map[session.ID]session.Session {
	found := map[session.ID]session.Session{}
	for id, e := range im.sessions {
		found[id] = e.session
	}
	return found
}
