package jsonfile

import (
	"testing"

	"berth/internal/session"
)

func TestRetiredStoreIsMarkedUntilReplace(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path, Options{})
	made := create(t, s, "ses-a")
	if s.Retired() {
		t.Error("a store in use is retired")
	}
	check := func(s *Store, want bool, why string) {
		t.Helper()
		if s.Retired() != want {
			t.Errorf("%s: retired is %v, want %v", why, s.Retired(), want)
		}
		if page, err := s.List(t.Context(), session.Query{}); err != nil || len(page.Sessions) != 1 || page.Sessions[0].ID != "ses-a" {
			t.Errorf("%s: got %+v, %v; want its one session", why, page.Sessions, err)
		}
		contents, err := Read([]byte(read(t, path)), nil)
		if err != nil || contents.Retired != want || len(contents.Sessions) != 1 || len(contents.Rejected) != 0 {
			t.Errorf("%s: read as %+v, %v; want one session and retired %v", why, contents, err, want)
		}
	}
	if err := s.Retire(t.Context(), []session.Session{made}); err != nil {
		t.Fatal(err)
	}
	check(s, true, "after it was retired")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path, Options{})
	check(s, true, "opened again")
	if err := s.Replace(t.Context(), []session.Session{made}); err != nil {
		t.Fatal(err)
	}
	check(s, false, "after it was replaced")
}

// An older Berth reads the mark as a session.
func TestRetiredMarkIsEntry(t *testing.T) {
	t.Parallel()
	e, err := decodeEntry(retiredName, []byte(retiredEntry))
	if err != nil || e.session.ID != retiredName || len(e.extra) != 0 {
		t.Errorf("got %+v, %v; want an entry of the name %s", e, err, retiredName)
	}
	s := open(t, file(t), Options{})
	if _, err := s.Create(t.Context(), sample(retiredName), session.Quota{}); session.CodeOf(err) != session.CodeInvalid {
		t.Errorf("a session with the ID of the mark: got %v, want it invalid", err)
	}
}
