package app

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"berth/internal/atomicfile"
	"berth/internal/config"
	"berth/internal/fileowner"
	"berth/internal/session"
)

// Files of the state directory.
const (
	adminTokenFile  = "admin-token"      // the operator's secret
	tokenSecretFile = "token-secret"     // SESSION_TOKEN_SECRET=auto
	instanceFile    = "instance"         // names this installation on the engine
	newFile         = "new-installation" // since when it has that name; until no sessions of others on the engine can be its own
	addressFile     = "address"          // URL of the Berth that serves from this directory, while it does
	nodeFile        = "node"             // names this process among those on one database
	storeFile       = "sessions.json"
	backendFile     = "storage-backend"       // which one has the sessions of this installation
	copyFile        = "database-copy.json"    // what the database had when last seen
	pendingFile     = "database-pending.json" // what it does not have yet; only while it is away
	ownerFile       = "engine-owner"          // which database the containers belong to; for a start without it
	placeFile       = "process-owner"         // which directory the processes of the process runtime belong to
	processDir      = "process"               // of the process runtime
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
	return state(dir), privateDir(dir)
}

// privateDir reports why a directory may not hold secrets.
func privateDir(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("look at the state directory: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("the state directory %s holds secrets and is open to others (mode %04o); run chmod 700 %s", dir, mode, dir)
	}
	return nil
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
	if err := atomicfile.Create(path, []byte(generate()+"\n"), ownerOnly, string(s)); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	return s.read(path)
}

// peek returns a text that is kept already, "" when there is none.
func (s state) peek(name string) (string, error) {
	text, err := s.read(s.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return text, err
}

// replace exchanges a kept text, and keeps the old one beside it.
func (s state) replace(name, text string) error {
	path := s.path(name)
	if err := os.Rename(path, path+".replaced"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keep the old %s: %w", path, err)
	}
	_, err := s.keep(name, func() string { return text })
	return err
}

// put writes a text that may change; "" removes it.
func (s state) put(name, text string) error {
	path := s.path(name)
	var err error
	if text != "" {
		err = atomicfile.Write(path, []byte(text+"\n"), ownerOnly, string(s))
	} else if err = atomicfile.Remove(path); err == nil {
		err = atomicfile.SyncDir(string(s))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func (s state) read(path string) (string, error) {
	text, err := os.ReadFile(path)
	if remedy := fileowner.Remedy(err, path); remedy != "" {
		return "", fmt.Errorf("%w; %s", err, remedy)
	}
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

// generatedSecret is as long as a SHA-256 key is strong: 43 characters of 5.95 bits each.
const generatedSecret = 43

func generateSecret() string { return session.NewToken(generatedSecret).Reveal() }

// randomName returns 16 random characters of [a-z2-7].
func randomName() string { return string(session.NewID())[len("ses-"):] }

// adminToken returns the operator's secret, from the configuration or made once and kept.
func adminToken(s state, cfg config.Config) (session.Secret, error) {
	if cfg.Server.AdminToken != "" {
		return cfg.Server.AdminToken, nil
	}
	token, err := s.keep(adminTokenFile, generateSecret)
	return session.Secret(token), err
}

// identity is what all that work on the same sessions must have in common.
type identity struct {
	secret   session.Secret // the key of digests and of upstream credentials
	instance string         // the name of this installation on the engine
}

// origin is what a store says of the installation whose sessions it has.
type origin struct {
	instance string // its name on the engine; empty: it does not say
	sessions bool   // there are some
}

// localIdentity returns what the configuration and the state directory say, made now where nothing has ever been. What is
// missing although there are sessions is not made anew: under another name their containers would be strangers, and under
// another secret their tokens and credentials would be void.
func localIdentity(s state, cfg config.Config, from origin) (identity, error) {
	id := identity{secret: cfg.Token.Secret}
	var err error
	if id.instance, err = s.instance(from, cfg.Session.Runtime != config.RuntimeProcess); err != nil {
		return identity{}, err
	}
	if cmp.Or(cfg.Token.Secret.Reveal(), config.Auto) == config.Auto {
		if secret, err := s.peek(tokenSecretFile); err != nil {
			return identity{}, err
		} else if secret == "" && from.sessions {
			return identity{}, lost(s, tokenSecretFile, "the key of their tokens and of their servers' credentials")
		}
		secret, err := s.keep(tokenSecretFile, generateSecret)
		if err != nil {
			return identity{}, err
		}
		id.secret = session.Secret(secret)
	}
	return id, nil
}

// instance returns the name of this installation on the engine. One that is made anew is noted as such where there is an
// engine.
func (s state) instance(from origin, engine bool) (string, error) {
	name, err := s.peek(instanceFile)
	if err != nil {
		return "", err
	}
	marker, err := s.peek(backendFile)
	switch {
	case err != nil:
		return "", err
	case name != "" && from.instance != "" && name != from.instance:
		return "", fmt.Errorf("the sessions are those of the installation %q, and %s says that this is %q: "+
			"remove that file to go on as the sessions' installation, or use another BERTH_STATE_DIR", from.instance, s.path(instanceFile), name)
	case name == "" && from.instance != "":
		return s.keep(instanceFile, func() string { return from.instance })
	case name == "" && (from.sessions || marker != ""):
		return "", lost(s, instanceFile, "the name of this installation on the engine")
	case name == "" && engine:
		if err := s.noteNew(); err != nil {
			return "", err
		}
	}
	return s.keep(instanceFile, func() string { return string(session.NewID()) })
}

// lost says what to do about a file that is missing beside sessions.
func lost(s state, name, what string) error {
	return session.Errorf(session.CodeStoreUnavailable, "%s is missing: it holds %s, which this installation has had before. "+
		"Nothing was changed. Restore it from a backup, or run berth store adopt to go on without it", s.path(name), what)
}

func (id identity) keys() (session.Keys, error) { return session.NewKeys([]byte(id.secret.Reveal())) }
