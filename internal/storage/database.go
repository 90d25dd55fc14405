package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"berth/internal/config"
	"berth/internal/session"
	"berth/internal/storage/failover"
	"berth/internal/storage/jsonfile"
	"berth/internal/storage/postgres"
)

// database is the shared backend with its fallback and the other processes on it.
type database struct {
	*postgres.Store
	environment
	peers    *postgres.Peers
	usage    *postgres.Usage
	failover *failover.Store // nil: without the database nothing is written

	mu      sync.Mutex
	details DatabaseStatus
	read    time.Time // when details were read
}

var _ backend = (*database)(nil)

// connectTimeout is how long a start waits for the database before it continues without it.
const connectTimeout = 5 * time.Second

// Names of the settings that all instances share in the database.
const (
	sharedSecret      = "token-secret"
	sharedFingerprint = "token-secret-fingerprint"
	sharedInstance    = "instance"
)

// openDatabase connects, updates the schema, agrees with the other instances on the identity, and migrates the sessions of the
// file. With the fallback enabled, an unavailable database does not prevent the start.
func (s *Storage) openDatabase(ctx context.Context) error {
	db, process, err := s.newDatabase()
	if err != nil {
		return err
	}
	db.peers = db.Peers()
	s.Identity, err = db.connect(ctx)
	unavailable := session.CodeOf(err) == session.CodeStoreUnavailable && !isFileError(err)
	switch {
	case err == nil:
	case unavailable && postgres.IsPermanent(err) && !s.dir.knowsDatabase():
		return permanentError{session.Errorf(session.CodeStoreUnavailable, "%s; this failure is permanent, and before the first start with "+
			"the database there is no local copy to continue with; see \"Sessions in PostgreSQL\" in docs/operating.md", session.MessageOf(err)).Because(err)}
	case unavailable && s.cfg.Database.Fallback:
		s.log.ErrorContext(ctx, "starting without the database, which cannot be reached", "error", err)
		if s.Identity, err = db.startOffline(ctx); err != nil {
			return err
		}
	default:
		return err
	}
	s.Store, s.backend, s.database, s.Process = db.Store, db, db, process
	s.Feed, s.Peers, s.Hold = db.Store, db.peers, db.hold()
	s.Usage, s.UsageJournal = db.usage, usageJournal{s.dir}
	s.Tokens, s.TokensChanged = sharedTokens{db}, db.PlatformTokensChanged()
	if s.cfg.Database.Fallback {
		if db.failover, err = s.newFailover(ctx, db); err != nil {
			return err
		}
		s.Store, s.Feed = db.failover, db.failover
		db.peers.WhilePending(db.failover.Degraded)
	}
	return s.dir.note(backendDatabase)
}

// startOffline is connect for a database that cannot be reached: it uses the state directory.
func (db *database) startOffline(ctx context.Context) (Identity, error) {
	id, err := db.localIdentity(origin{sessions: db.dir.knowsDatabase()})
	if err != nil {
		return Identity{}, err
	}
	keys, err := id.Keys()
	if err == nil {
		err = db.journalFile(ctx, keys)
	}
	if err == nil {
		err = db.pinRecorded(id.Instance)
	}
	return id, err
}

// knowsDatabase reports whether a process on this state directory has used the database, or its fallback.
func (d Dir) knowsDatabase() bool {
	return jsonfile.Exists(d.path(copyFile)) || jsonfile.Exists(d.path(pendingFile))
}

// permanentError marks a failure to start that only a change of the settings or the database fixes.
type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// IsPermanent reports whether only a change of the settings or the database fixes a failure of [Open], so that a restart does
// not help.
func IsPermanent(err error) bool {
	_, ok := errors.AsType[permanentError](err)
	return ok
}

// fileError marks the failure of a file of the state directory, in contrast to one of the database.
type fileError struct{ error }

func (f fileError) Unwrap() error { return f.error }

func isFileError(err error) bool {
	_, ok := errors.AsType[fileError](err)
	return ok
}

// newDatabase makes the client of the database; it does not connect. The process name has a persistent part, the node, and a
// part for this start, so that a restarted process is distinguished from its predecessor.
func (s *Storage) newDatabase() (_ *database, process string, err error) {
	node, err := s.dir.keep(nodeFile, func() string { return "node-" + randomName() })
	if err != nil {
		return nil, "", err
	}
	process = postgres.ProcessName(node, randomName())
	place, err := s.dir.place()
	if err != nil {
		return nil, "", err
	}
	d := s.cfg.Database
	store, err := postgres.Open(postgres.Options{
		URL: d.URL, Host: d.Host, Port: d.Port, User: d.User, Password: d.Password, Database: d.Name,
		SSLMode: d.SSLMode, SSLRootCert: d.SSLRootCert, SSLCert: d.SSLCert, SSLKey: d.SSLKey,
		MinConnections: d.MinConnections, MaxConnections: d.MaxConnections, MaxQueries: d.MaxQueries,
		MaxInactiveLifetime: d.MaxInactiveLifetime.Duration(),
		Process:             process, Directory: place, Address: s.cfg.Server.Listen, Version: s.version, Logger: s.named("postgres"),
	})
	if err != nil {
		return nil, "", err
	}
	s.onClose("database", func() error { store.Close(); return nil })
	return &database{Store: store, usage: store.Usage(), environment: s.environment}, process, nil
}

// connect prepares the database, if it can be reached within [connectTimeout].
func (db *database) connect(begun context.Context) (Identity, error) {
	ctx, cancel := context.WithTimeout(begun, connectTimeout)
	err := db.Prepare(ctx)
	cancel()
	if err != nil {
		return Identity{}, err
	}
	if err := db.peers.Admit(begun); err != nil {
		return Identity{}, err
	}
	ctx = context.WithoutCancel(begun)
	if err := db.checkKnown(ctx); err != nil {
		return Identity{}, err
	}
	id, err := db.agree(ctx)
	if err != nil {
		return Identity{}, err
	}
	if err := db.pin(ctx, id.Instance); err != nil {
		return Identity{}, err
	}
	keys, err := id.Keys()
	if err != nil {
		return Identity{}, err
	}
	if err := db.migrate(ctx, keys); err != nil {
		return Identity{}, err
	}
	if err := db.moveWaiting(ctx); err != nil {
		return Identity{}, err
	}
	if err := db.moveUsage(ctx); err != nil {
		return Identity{}, err
	}
	return id, db.peers.Join(ctx)
}

// agree returns the identity that all instances on the database share: that of the first instance. An instance that has local
// sessions under another secret is an error, because their tokens and credentials would be invalid.
func (db *database) agree(ctx context.Context) (Identity, error) {
	own := Identity{Secret: db.cfg.Token.Secret}
	var err error
	made := ""
	if own.Instance, err = db.shared(ctx, sharedInstance, instanceFile, func() string { made = string(session.NewID()); return made }); err != nil {
		return Identity{}, err
	}
	if own.Instance == made && db.cfg.Session.Runtime != config.RuntimeProcess {
		if err := db.dir.markNew(); err != nil {
			return Identity{}, err
		}
	}
	if db.generatesSecret() {
		secret, err := db.shared(ctx, sharedSecret, tokenSecretFile, generateSecret)
		if err != nil {
			return Identity{}, err
		}
		own.Secret = session.Secret(secret)
	}
	return own, db.verify(ctx, own)
}

// shared returns the setting that the instances share under a name, and keeps it in the state directory for a start without
// the database.
func (db *database) shared(ctx context.Context, name, file string, generate func() string) (string, error) {
	local, err := db.dir.peek(file)
	if err != nil {
		return "", err
	}
	offer := local
	if offer == "" {
		offer = generate()
	}
	text, err := db.Keep(ctx, name, offer)
	switch {
	case err != nil || text == local:
		return text, err
	case local == "":
		return db.dir.keep(file, func() string { return text })
	case db.dir.hasSessions():
		return "", fmt.Errorf("this state directory has sessions and its own %s, but the database belongs to other instances with "+
			"another one: use another DB_NAME, or stop and delete the sessions of %s and remove its %s to join the others",
			file, string(db.dir), storeFile)
	}
	return text, db.dir.replace(file, text)
}

// verify compares this process's identity with that of the other instances.
func (db *database) verify(ctx context.Context, own Identity) error {
	keys, err := own.Keys()
	if err != nil {
		return err
	}
	mine := keys.Digest("berth") // does not reveal the secret
	theirs, err := db.Keep(ctx, sharedFingerprint, mine)
	if err != nil {
		return err
	}
	instance, err := db.Keep(ctx, sharedInstance, own.Instance)
	if err != nil {
		return err
	}
	if theirs != mine || instance != own.Instance {
		return errors.New("the instances on this database have another SESSION_TOKEN_SECRET, or another installation name: " +
			"give this one the same secret, or a separate database")
	}
	return nil
}

func (db *database) installation(ctx context.Context) (string, error) {
	return db.Setting(ctx, sharedInstance)
}

// SetInstallation replaces the name of the installation.
func (db *database) SetInstallation(ctx context.Context, name string) error {
	return db.SetSetting(ctx, sharedInstance, name)
}

func (db *database) tokenSecret(ctx context.Context) (string, error) {
	return db.Setting(ctx, sharedSecret)
}

func (db *database) add(ctx context.Context, report *ImportReport, source string, contents jsonfile.Contents) error {
	done, err := db.Import(ctx, source, contents.Sessions)
	report.Added, report.Known, report.Repeated = done.Added, done.Known, done.Repeated
	if err == nil {
		report.PlatformTokens, err = addTokens(ctx, db, contents.PlatformTokens)
	}
	return err
}

// hasSessions reports whether the state directory holds sessions that the database may not have.
func (d Dir) hasSessions() bool {
	for _, name := range []string{storeFile, pendingFile} {
		if info, err := os.Stat(d.path(name)); err == nil && info.Size() > 0 {
			return true
		}
	}
	return false
}
