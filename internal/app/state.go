package app

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"berth/internal/config"
	"berth/internal/session"
)

// Files of the state directory.
const (
	adminTokenFile  = "admin-token"  // the operator's secret
	tokenSecretFile = "token-secret" // SESSION_TOKEN_SECRET=auto
	instanceFile    = "instance"     // names this installation on the engine
	storeFile       = "sessions.json"
	processDir      = "process" // of the process runtime
)

// AdminTokenFile returns where a generated admin token is kept.
func AdminTokenFile(stateDir string) string { return filepath.Join(stateDir, adminTokenFile) }

// InstanceOf returns the name of the installation that keeps its state there; "" when there is none or it may not be
// read.
func InstanceOf(stateDir string) string {
	text, err := os.ReadFile(filepath.Join(stateDir, instanceFile))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// state is the directory of what Berth has to remember, readable by its owner only.
type state string

func openState(dir string) (state, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the state directory; set BERTH_STATE_DIR to a place that can be written: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return "", fmt.Errorf("look at the state directory: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return "", fmt.Errorf("the state directory %s holds secrets and is open to others (mode %04o); run chmod 700 %s", dir, mode, dir)
	}
	return state(dir), nil
}

func (s state) path(name string) string { return filepath.Join(string(s), name) }

// keep returns the text of a file that is made once, from generate, and read ever after. Two processes that make it at
// the same time both get the text of one of them.
func (s state) keep(name string, generate func() string) (string, error) {
	path := s.path(name)
	text, err := s.read(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return text, err
	}
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o600), renameio.WithTempDir(string(s)))
	if err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	defer f.Cleanup() //nolint:errcheck // the link below is what counts
	if _, err := f.WriteString(generate() + "\n"); err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	if err := f.Sync(); err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	// A link, unlike a rename, does not replace what another process has made meanwhile.
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	if err := syncDir(string(s)); err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	return s.read(path)
}

func (s state) read(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return "", fmt.Errorf("%s holds a secret and is open to others (mode %04o); run chmod 600 %s, and replace it if others may have read it", path, mode, path)
	}
	if strings.TrimSpace(string(text)) == "" {
		return "", fmt.Errorf("%s is empty; restore it from a backup, or remove it to have a new one made", path)
	}
	return strings.TrimSpace(string(text)), nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// generatedSecret is as long as a SHA-256 key is strong: 43 characters of 5.95 bits each.
const generatedSecret = 43

func generateSecret() string { return session.NewToken(generatedSecret).Reveal() }

// secrets returns the keys and the admin token, from the configuration or made once and kept.
func secrets(s state, cfg config.Config) (session.Keys, session.Secret, error) {
	secret := cfg.Token.Secret.Reveal()
	var err error
	if cmp.Or(secret, config.Auto) == config.Auto {
		if secret, err = s.keep(tokenSecretFile, generateSecret); err != nil {
			return session.Keys{}, "", err
		}
	}
	keys, err := session.NewKeys([]byte(secret))
	if err != nil {
		return session.Keys{}, "", err
	}
	admin := cfg.Server.AdminToken.Reveal()
	if admin == "" {
		if admin, err = s.keep(adminTokenFile, generateSecret); err != nil {
			return session.Keys{}, "", err
		}
	}
	return keys, session.Secret(admin), nil
}
