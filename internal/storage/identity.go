package storage

import (
	"cmp"
	"fmt"

	"berth/internal/access"
	"berth/internal/config"
	"berth/internal/session"
)

// generatedSecret is the length of a secret with the strength of a SHA-256 key: 43 characters of 5.95 bits each.
const generatedSecret = 43

func generateSecret() string { return access.NewToken(generatedSecret).Reveal() }

// randomName returns 16 random characters of [a-z2-7].
func randomName() string { return string(session.NewID())[len("ses-"):] }

// AdminToken returns the operator's token, from the configuration or generated once and kept.
func (d Dir) AdminToken(cfg config.Config) (session.Secret, error) {
	if cfg.Server.AdminToken != "" {
		return cfg.Server.AdminToken, nil
	}
	token, err := d.keep(adminTokenFile, generateSecret)
	return session.Secret(token), err
}

// Identity is shared by all processes that work on the same sessions.
type Identity struct {
	Secret   session.Secret // the key of digests and of upstream credentials
	Instance string         // the name of this installation on the engine
}

// Keys returns the keys of tokens and credentials.
func (id Identity) Keys() (access.Keys, error) { return access.NewKeys([]byte(id.Secret.Reveal())) }

// generatesSecret reports whether Berth generates the token secret, because the configuration has none.
func (e environment) generatesSecret() bool {
	return cmp.Or(e.cfg.Token.Secret.Reveal(), config.Auto) == config.Auto
}

// origin is the installation of a store's sessions.
type origin struct {
	installation string // its name on the engine; empty: not recorded
	sessions     bool   // whether there are sessions
}

// localIdentity returns the identity of the configuration and the state directory. It creates one for a new installation. If
// there are sessions, a missing part is an error: with another name their containers would belong to another installation, and
// with another secret their tokens and credentials would be invalid.
func (e environment) localIdentity(from origin) (Identity, error) {
	id := Identity{Secret: e.cfg.Token.Secret}
	var err error
	if id.Instance, err = e.dir.installation(from, e.cfg.Session.Runtime != config.RuntimeProcess); err != nil {
		return Identity{}, err
	}
	if e.generatesSecret() {
		if secret, err := e.dir.peek(tokenSecretFile); err != nil {
			return Identity{}, err
		} else if secret == "" && from.sessions {
			return Identity{}, missingIdentity(e.dir, tokenSecretFile, "the key of their tokens and of their servers' credentials")
		}
		secret, err := e.dir.keep(tokenSecretFile, generateSecret)
		if err != nil {
			return Identity{}, err
		}
		id.Secret = session.Secret(secret)
	}
	return id, nil
}

// installation returns the name of this installation on the engine. A new name is marked as such if there is an engine.
func (d Dir) installation(from origin, engine bool) (string, error) {
	name, err := d.peek(instanceFile)
	if err != nil {
		return "", err
	}
	marker, err := d.peek(backendFile)
	switch {
	case err != nil:
		return "", err
	case name != "" && from.installation != "" && name != from.installation:
		return "", fmt.Errorf("the sessions are those of the installation %q, and %s says that this is %q: "+
			"remove that file to continue as the sessions' installation, or use another BERTH_STATE_DIR", from.installation, d.path(instanceFile), name)
	case name == "" && from.installation != "":
		return d.keep(instanceFile, func() string { return from.installation })
	case name == "" && (from.sessions || marker != ""):
		return "", missingIdentity(d, instanceFile, "the name of this installation on the engine")
	case name == "" && engine:
		if err := d.markNew(); err != nil {
			return "", err
		}
	}
	return d.keep(instanceFile, func() string { return string(session.NewID()) })
}

// missingIdentity is the error for a file that is missing although there are sessions.
func missingIdentity(d Dir, name, what string) error {
	return session.Errorf(session.CodeStoreUnavailable, "%s is missing: it holds %s, which this installation had before. "+
		"Nothing was changed. Restore it from a backup, or run berth store adopt to continue without it", d.path(name), what)
}
