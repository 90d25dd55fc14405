package jsonfile

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"berth/internal/access"
	"berth/internal/session"
	"berth/internal/storetest"
)

func TestTokenSuite(t *testing.T) {
	t.Parallel()
	storetest.RunTokens(t, func(t *testing.T) access.TokenStore { return open(t, file(t), Options{}) })
}

// reopeningTokens reads its tokens from the file each time.
type reopeningTokens struct {
	access.TokenStore
	t    *testing.T
	path string
}

func (r *reopeningTokens) PlatformTokens(ctx context.Context) ([]access.PlatformToken, error) {
	if err := r.TokenStore.(*Store).Close(); err != nil {
		r.t.Fatal(err)
	}
	r.TokenStore = open(r.t, r.path, Options{})
	return r.TokenStore.PlatformTokens(ctx)
}

func TestTokenSuiteWithReopening(t *testing.T) {
	t.Parallel()
	storetest.RunTokens(t, func(t *testing.T) access.TokenStore {
		path := file(t)
		return &reopeningTokens{open(t, path, Options{}), t, path}
	})
}

// Tokens stand beside the sessions in the file, so that a reader of sessions sees what it saw before, and each keeps the other.
func TestTokensAndSessionsKeepEachOther(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path, Options{})
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	token := access.PlatformToken{ID: access.NewTokenID(), Name: "ci", Scopes: access.ScopeRead, Digest: strings.Repeat("a", 64), CreatedAt: at}
	v := session.Session{ID: "ses-a", Status: session.Stopped, CreatedAt: at, LastAccessed: at}
	if err := s.SetInstallation(t.Context(), "ses-installation"); err != nil {
		t.Fatal(err)
	}
	if err := s.CreatePlatformToken(t.Context(), token, 10); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(t.Context(), v, session.Quota{}); err != nil {
		t.Fatal(err)
	}
	v.Revision = 1
	if err := s.Replace(t.Context(), []session.Session{v}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	contents, err := Read(data, func(string) string { return "" })
	if err != nil || len(contents.Sessions) != 1 || len(contents.PlatformTokens) != 1 || contents.PlatformTokens[0] != token {
		t.Errorf("got %+v, %v, want the session and the token", contents, err)
	}
	if s.Installation() != "ses-installation" {
		t.Errorf("got the installation %q", s.Installation())
	}
	written, err := Write(contents.Sessions, contents.PlatformTokens...)
	if err != nil || !strings.Contains(string(written), `"platform_tokens":[{"id":"`+string(token.ID)) {
		t.Errorf("got %s, %v, want an export with the token", written, err)
	}
}

func TestDamagedTokensAreNotIgnored(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{}`, `[{"id":"tok-a"}]`, `[{"id":"tok-a","name":"a","digest":"1"},{"id":"tok-a","name":"b","digest":"2"}]`} {
		path := file(t)
		if err := os.WriteFile(path, []byte(`{"berth_store":1,"platform_tokens":`+text+`,"sessions":{}}`), ownerOnly); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), "platform_tokens") {
			_ = s.Close()
			t.Errorf("%s: got %v, want an error that names the member", text, err)
		}
	}
}

// A token of a newer Berth may do here what this one knows, and nothing else.
func TestUnknownScopesAreLeftOut(t *testing.T) {
	t.Parallel()
	path := file(t)
	text := `{"berth_store":1,"platform_tokens":[{"id":"tok-a","name":"a","digest":"1","scopes":"sessions:read sessions:fly"}],"sessions":{}}`
	if err := os.WriteFile(path, []byte(text), ownerOnly); err != nil {
		t.Fatal(err)
	}
	all, err := open(t, path, Options{}).PlatformTokens(t.Context())
	if err != nil || len(all) != 1 || all[0].Scopes != access.ScopeRead {
		t.Errorf("got %+v, %v, want sessions:read alone", all, err)
	}
}
