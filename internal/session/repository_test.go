package session_test

import (
	"strings"
	"testing"

	"berth/internal/session"
)

func TestParseRepository(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]session.Repository{
		"https://github.com/team/app.git":       {Host: "github.com", Path: "team/app.git"},
		"https://GitHub.com/team/app":           {Host: "github.com", Path: "team/app"},
		"https://git.example:8443/app/":         {Host: "git.example:8443", Path: "app"},
		"ssh://git@github.com/team/app.git":     {Host: "github.com", Path: "team/app.git"},
		"ssh://github.com:22/team/app.git":      {Host: "github.com:22", Path: "team/app.git"},
		"git@github.com:team/app.git":           {Host: "github.com", Path: "team/app.git"},
		"git@git.example:~bob/c++":              {Host: "git.example", Path: "~bob/c++"},
		"https://git.example/a/.github":         {Host: "git.example", Path: "a/.github"},
		"https://git.example/group/sub-g/x.y.z": {Host: "git.example", Path: "group/sub-g/x.y.z"},
	} {
		if got, err := session.ParseRepository(text); err != nil || got != want {
			t.Errorf("%s: got %+v, %v; want %+v", text, got, err, want)
		}
	}
}

func TestParseRepositoryRefusesWhatGitWouldRun(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "-", "--upload-pack=touch /tmp/x", "ext::sh -c id", "file:///etc", "/etc", "../x", "http://git.example/x", "git://git.example/x",
		"https://user@git.example/x", "https://user:hunter2@git.example/x", "ssh://root@git.example/x", "ssh://git:hunter2@git.example/x",
		"ssh://-oProxyCommand=id/x", "git@-oProxyCommand=id:x", "git@git.example:-x", "git@git.example:../x", "https://git.example", "https://git.example/",
		"https://git.example/../x", "https://git.example/a//b", "https://git.example/a/%2e%2e/b", "https://git.example/a?b", "https://git.example/a#b",
		"https://git.example/a b", "https://git.example/a\nb", "https://[::1]/x", "https://git..example/x", "https://git.example/a/./b", "https:git.example/x",
		"https://git.example:port/x", "https://git.example/$(id)", "https://git.example/`id`", "https://git.example/a;id", "transport::https://git.example/x",
		"git.example:team/app", "other@git.example:team/app", "git@git.example/x:y",
	} {
		got, err := session.ParseRepository(text)
		if err == nil {
			t.Errorf("%q: got %+v, want an error", text, got)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password is in %q", err)
		}
	}
}

func TestCheckRef(t *testing.T) {
	t.Parallel()
	for _, ref := range []string{"main", "v1.2.3", "feature/x-1", "0123456789abcdef0123456789abcdef01234567", "release_1+2"} {
		if err := session.CheckRef(ref); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
	for _, ref := range []string{"", "-x", "--upload-pack=id", "a..b", "a b", "a\nb", "/a", "a/", "a//b", "a.lock", "a@{1}", "a:b", "a~1", "a^", "a*", ".a", "a/.b", "a.", strings.Repeat("a", 256)} {
		if session.CheckRef(ref) == nil {
			t.Errorf("%q: want an error", ref)
		}
	}
}
