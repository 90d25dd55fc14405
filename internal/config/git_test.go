package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"berth/internal/config"
)

func loadGit(t *testing.T, text string) (config.Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "berth.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Load(config.Options{File: file, Environ: []string{"HOME=" + t.TempDir(), "DOCKER_HOST=tcp://127.0.0.1:2376"}})
}

func TestGitHostsAreRead(t *testing.T) {
	t.Parallel()
	c, err := loadGit(t, `
git:
  - {host: github.com, paths: ["team/*"], owners: [ann], username: bot, token: hunter2, push: true}
  - {host: "git.example.com:8443", token_file: /run/secrets/git, base_url: "http://10.0.0.5:3000/scm/"}
`)
	if err != nil || len(c.Git) != 2 || c.Git[0].Token.Reveal() != "hunter2" || !c.Git[0].Push || c.Git[1].Host != "git.example.com:8443" {
		t.Errorf("got %+v, %v", c.Git, err)
	}
	if got := config.Changed(c, config.Default()); !strings.Contains(strings.Join(got, " "), "git") {
		t.Errorf("got %v, want git among what has changed", got)
	}
}

func TestFaultsOfGitHosts(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		`{host: "https://github.com"}`:                                         "git[0].host",
		`{host: GitHub.com}`:                                                   "git[0].host",
		`{host: github.com, token: hunter2, token_file: /x}`:                   "git[0].token",
		`{host: github.com, token: "hunter2 x"}`:                               "git[0].token",
		`{host: github.com, push: true}`:                                       "git[0].push",
		`{host: github.com, username: "a:b"}`:                                  "git[0].username",
		`{host: github.com, base_url: "http://github.com/"}`:                   "git[0].base_url",
		`{host: github.com, base_url: "https://bot:hunter2@git.example.com/"}`: "git[0].base_url",
		`{host: github.com, owners: [""]}`:                                     "git[0]",
		`{host: github.com, pathes: [x]}`:                                      "pathes",
	} {
		_, err := loadGit(t, "git:\n  - "+host+"\n")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want a fault of %s", host, err, want)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the secret is in %v", host, err)
		}
	}
}
