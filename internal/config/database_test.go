package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDatabasePasswordIsReadFromFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("pass word\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, use := range []string{"true", "false"} {
		cfg, err := Load(Options{Environ: []string{"USE_DATABASE_STORAGE=" + use, "DB_PASSWORD_FILE=" + file, "BERTH_STATE_DIR=/state"}})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"true": "pass word", "false": ""}[use]
		if got := cfg.Database.Password.Reveal(); got != want {
			t.Errorf("with USE_DATABASE_STORAGE=%s: got %q, want %q", use, got, want)
		}
	}
}

func TestUnverifiedRemoteDatabaseGivesWarning(t *testing.T) {
	t.Parallel()
	for environ, want := range map[string]bool{
		"DB_HOST=localhost":                                                false,
		"DB_HOST=127.0.0.1":                                                false,
		"DB_HOST=/run/postgresql":                                          false,
		"DB_HOST=db.example":                                               true,
		"DB_HOST=192.0.2.1":                                                true,
		"DB_HOST=db.example DB_SSLMODE=require":                            true,
		"DB_HOST=db.example DB_SSLMODE=verify-full":                        false,
		"DATABASE_URL=postgres://u:secret@db.example/n":                    true,
		"DATABASE_URL=postgres://u:secret@db.example/n?sslmode=verify-ca":  false,
		"DATABASE_URL=postgres://u:secret@[::1]/n":                         false,
		"DATABASE_URL=postgres:///n?host=/run/postgresql":                  false,
		"DATABASE_URL=postgres://u:secret@127.0.0.1:5433/n?sslmode=prefer": false,
	} {
		cfg, err := Load(Options{Environ: append(strings.Fields(environ), "USE_DATABASE_STORAGE=true", "BERTH_STATE_DIR=/state")})
		if err != nil {
			t.Fatalf("%s: %v", environ, err)
		}
		all := strings.Join(cfg.Warnings(), "\n")
		if got := strings.Contains(all, "DB_SSLMODE=verify-full"); got != want {
			t.Errorf("%s: warned %v, want %v", environ, got, want)
		}
		if strings.Contains(all, "secret") {
			t.Errorf("%s: the warning shows the password: %s", environ, all)
		}
	}
}
