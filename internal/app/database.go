package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"berth/internal/config"
	"berth/internal/failover"
	"berth/internal/httpapi"
	"berth/internal/jsonfile"
	"berth/internal/postgres"
	"berth/internal/session"
)

// database is the shared store, what stands in for it while it is away, and who else works on it.
type database struct {
	store    *postgres.Store
	peers    *postgres.Peers
	failover *failover.Store // nil: without the database nothing is written

	mu      sync.Mutex
	stats   postgres.Stats
	imports []postgres.Import
	read    time.Time // when both were
}

// connectTimeout is how long a start waits for the database before it goes on without.
const connectTimeout = 5 * time.Second

// Names under which the database keeps what all instances share.
const (
	sharedSecret      = "token-secret"
	sharedFingerprint = "token-secret-fingerprint"
	sharedInstance    = "instance"
)

// openDatabase connects, brings the schema up to date, agrees with the other instances on what they share, and moves the
// sessions of the file there. A database that is away is no reason not to serve, unless the configuration says so.
func (a *App) openDatabase(ctx context.Context, s state) (storage, error) {
	store, process, err := a.newPostgres(s)
	if err != nil {
		return storage{}, err
	}
	a.onStop("database", func(context.Context) error { store.Close(); return nil })
	db := &database{store: store, peers: store.Peers()}
	id, err := db.connect(ctx, a, s)
	away := session.CodeOf(err) == session.CodeStoreUnavailable && !isFileError(err)
	switch {
	case err == nil:
	case away && postgres.IsPermanent(err) && !s.knowsDatabase():
		return storage{}, permanentError{session.Errorf(session.CodeStoreUnavailable, "%s. This does not pass by itself, and before the first start with "+
			"the database there is nothing to go on with; see \"Sessions in PostgreSQL\" in docs/operating.md", session.MessageOf(err)).Because(err)}
	case away && a.cfg.Database.Fallback:
		a.log.ErrorContext(ctx, "the database cannot be reached; starting without it", "error", err)
		if id, err = localIdentity(s, a.cfg, origin{sessions: jsonfile.Exists(s.path(copyFile)) || jsonfile.Exists(s.path(pendingFile))}); err != nil {
			return storage{}, err
		}
		keys, err := id.keys()
		if err == nil {
			err = a.adoptFile(ctx, s, keys)
		}
		if err == nil {
			err = db.pinKnown(s, id.instance)
		}
		if err != nil {
			return storage{}, err
		}
	default:
		return storage{}, err
	}
	out := storage{store: store, identity: id, process: process, feed: store, peers: db.peers, database: db, hold: holdInDatabase(store)}
	if a.cfg.Database.Fallback {
		if db.failover, err = a.newFailover(ctx, s, store, id); err != nil {
			return storage{}, err
		}
		out.store, out.feed = db.failover, db.failover
		db.peers.WhilePending(db.failover.Degraded)
	}
	return out, s.note(backendDatabase)
}

// knowsDatabase reports whether a process on this state directory has worked with the database, or in its place.
func (s state) knowsDatabase() bool {
	return jsonfile.Exists(s.path(copyFile)) || jsonfile.Exists(s.path(pendingFile))
}

// permanentError marks a failure to start that lasts until somebody changes the settings or the database.
type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// IsPermanent reports whether a failure of [New] lasts until somebody changes the settings or the database, so that starting
// again is of no use.
func IsPermanent(err error) bool {
	_, ok := errors.AsType[permanentError](err)
	return ok
}

// fileError marks the failure of a file of the state directory, which is not the database's.
type fileError struct{ error }

func (f fileError) Unwrap() error { return f.error }

func isFileError(err error) bool {
	_, ok := errors.AsType[fileError](err)
	return ok
}

// newPostgres makes the client of the database; it connects to nothing. The node outlives this process, and the start does
// not: a process that lives under the node's name is not taken for the one that has died.
func (a *App) newPostgres(s state) (*postgres.Store, string, error) {
	node, err := s.keep(nodeFile, func() string { return "node-" + randomName() })
	if err != nil {
		return nil, "", err
	}
	process := postgres.ProcessName(node, randomName())
	place, err := s.place()
	if err != nil {
		return nil, "", err
	}
	d := a.cfg.Database
	store, err := postgres.Open(postgres.Options{
		URL: d.URL, Host: d.Host, Port: d.Port, User: d.User, Password: d.Password, Database: d.Name,
		SSLMode: d.SSLMode, SSLRootCert: d.SSLRootCert, SSLCert: d.SSLCert, SSLKey: d.SSLKey,
		MinConnections: d.MinConnections, MaxConnections: d.MaxConnections, MaxQueries: d.MaxQueries,
		MaxInactiveLifetime: d.MaxInactiveLifetime.Duration(),
		Process:             process, Directory: place, Address: a.cfg.Server.Listen, Version: a.version, Logger: a.named("postgres"),
	})
	return store, process, err
}

// connect makes the database ready for use, if it can be reached within a few seconds.
func (db *database) connect(begun context.Context, a *App, s state) (identity, error) {
	ctx, cancel := context.WithTimeout(begun, connectTimeout)
	err := db.store.Prepare(ctx)
	cancel()
	if err != nil {
		return identity{}, err
	}
	if err := db.peers.Admit(begun); err != nil {
		return identity{}, err
	}
	ctx = context.WithoutCancel(begun)
	if err := db.isKnown(ctx, s); err != nil {
		return identity{}, err
	}
	id, err := db.agree(ctx, a, s)
	if err != nil {
		return identity{}, err
	}
	if err := db.pin(ctx, id.instance); err != nil {
		return identity{}, err
	}
	keys, err := id.keys()
	if err != nil {
		return identity{}, err
	}
	if err := a.migrate(ctx, s, db.store, keys); err != nil {
		return identity{}, err
	}
	return id, db.peers.Join(ctx)
}

// agree returns what all instances on the database share: what the first of them has brought. An instance that comes
// with sessions of its own under another secret is refused, because their tokens and credentials would be void.
func (db *database) agree(ctx context.Context, a *App, s state) (identity, error) {
	own := identity{secret: a.cfg.Token.Secret}
	auto := own.secret.Reveal() == "auto" || own.secret == ""
	var err error
	made := ""
	if own.instance, err = db.shared(ctx, s, sharedInstance, instanceFile, func() string { made = string(session.NewID()); return made }); err != nil {
		return identity{}, err
	}
	if own.instance == made && a.cfg.Session.Runtime != config.RuntimeProcess {
		if err := s.noteNew(); err != nil {
			return identity{}, err
		}
	}
	if auto {
		secret, err := db.shared(ctx, s, sharedSecret, tokenSecretFile, generateSecret)
		if err != nil {
			return identity{}, err
		}
		own.secret = session.Secret(secret)
	}
	return own, db.verify(ctx, own)
}

// shared returns the text that the instances have in common under a name, and keeps it in the state directory for a
// start without the database.
func (db *database) shared(ctx context.Context, s state, name, file string, generate func() string) (string, error) {
	local, err := s.peek(file)
	if err != nil {
		return "", err
	}
	offer := local
	if offer == "" {
		offer = generate()
	}
	text, err := db.store.Keep(ctx, name, offer)
	switch {
	case err != nil || text == local:
		return text, err
	case local == "":
		return s.keep(file, func() string { return text })
	case s.hasSessions():
		return "", fmt.Errorf("this state directory has sessions and a %s of its own, and the database belongs to other instances with "+
			"another one: use another DB_NAME, or stop and delete the sessions of %s and remove its %s to join the others",
			file, string(s), storeFile)
	}
	return text, s.replace(file, text)
}

// verify compares this process's identity with that of the other instances.
func (db *database) verify(ctx context.Context, own identity) error {
	keys, err := own.keys()
	if err != nil {
		return err
	}
	mine := keys.Digest("berth") // says nothing about the secret
	theirs, err := db.store.Keep(ctx, sharedFingerprint, mine)
	if err != nil {
		return err
	}
	instance, err := db.store.Keep(ctx, sharedInstance, own.instance)
	if err != nil {
		return err
	}
	if theirs != mine || instance != own.instance {
		return errors.New("the instances on this database have another SESSION_TOKEN_SECRET, or another installation name: " +
			"give this one the same secret, or a database of its own")
	}
	return nil
}

// hasSessions reports whether the state directory holds sessions that the database may not have.
func (s state) hasSessions() bool {
	for _, name := range []string{storeFile, pendingFile} {
		if info, err := os.Stat(s.path(name)); err == nil && info.Size() > 0 {
			return true
		}
	}
	return false
}

// newFailover puts the embedded store behind the database.
func (a *App) newFailover(ctx context.Context, s state, store *postgres.Store, id identity) (*failover.Store, error) {
	base, err := a.openFile(s, copyFile)
	if err != nil {
		return nil, err
	}
	pending := s.path(pendingFile)
	f, err := failover.Open(ctx, store, failover.Options{
		Copy: base,
		Pending: func(initial []session.Session) (failover.Local, error) {
			if err := jsonfile.Begin(pending, initial); err != nil {
				return nil, err
			}
			return jsonfile.Open(pending, jsonfile.Options{Logger: a.named("jsonfile")})
		},
		HasPending:  func() bool { return jsonfile.Exists(pending) },
		DropPending: func() error { return jsonfile.Remove(pending) },
		Prepare: func(ctx context.Context) error {
			if err := store.Prepare(ctx); err != nil {
				return err
			}
			db := &database{store: store}
			if err := db.verify(ctx, id); err != nil {
				return err
			}
			return db.pin(ctx, id.instance)
		},
		Logger: a.named("failover"),
	})
	if err != nil {
		return nil, err
	}
	a.onStop("failover", func(context.Context) error { return f.Close() })
	return f, nil
}

// runDatabase keeps the database's companions at work until ctx ends. Only leave says good-bye to the other instances:
// until then operations may be going on here that they must not take over.
func (a *App) runDatabase(ctx context.Context, work *errgroup.Group) (leave func()) {
	db := a.storage.database
	if db == nil {
		return func() {}
	}
	stay, leave := context.WithCancel(context.WithoutCancel(ctx))
	work.Go(func() error { return db.peers.Run(stay, a.manager.PeersChanged) })
	if db.failover != nil {
		work.Go(func() error { return db.failover.Run(ctx) })
	}
	return leave
}

// Health is the operator's view of the database, and the cause of its failure in a sentence; nil for a file.
func (s storage) Health(ctx context.Context, counts session.Counts) (h *httpapi.DatabaseHealth, cause string) {
	db := s.database
	if db == nil {
		return nil, ""
	}
	h = &httpapi.DatabaseHealth{Status: "healthy"}
	pool := db.store.Pool()
	h.Pool = &httpapi.DatabasePool{Total: pool.Total, Idle: pool.Idle, Acquired: pool.Acquired, Max: pool.Max}
	if db.failover != nil {
		f := db.failover.Status()
		h.PendingChanges = f.Pending
		if f.Degraded {
			h.Status, h.Reason, h.Since = "unavailable", f.Reason, &f.Since
			return h, unavailable(h.Reason)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if err := db.store.Ping(ctx); err != nil {
		h.Status, h.Reason = "unavailable", session.MessageOf(err)
		return h, unavailable(h.Reason)
	}
	if why := db.store.NotificationFault(); why != "" {
		h.Status, h.Reason = "degraded", why
		cause = "the database does not notify this instance of changes; they are looked for every second"
	}
	if at := db.store.WentBack(); !at.IsZero() {
		h.Status, h.Reason = "degraded", wentBack+" (noticed at "+at.UTC().Format(time.RFC3339)+")"
		cause = wentBack
	}
	h.TotalSessions, h.ActiveSessions = counts.Total(), counts.Active()
	stats, imports := db.details(ctx)
	h.DatabaseSize, h.SchemaVersion = stats.Size, stats.SchemaVersion
	for _, i := range imports {
		h.Imports = append(h.Imports, httpapi.Import{Source: i.Source, At: i.At, Total: i.Total, Added: i.Added, Known: i.Known})
	}
	return h, cause
}

// unavailable is the cause that people are given for a database that is not available.
func unavailable(reason string) string {
	if strings.HasPrefix(reason, postgres.AnotherDatabase) {
		return reason
	}
	return "the database is away; changes are kept until it returns"
}

// Instances are the processes that work on the database; nil for a file.
func (s storage) Instances() []httpapi.Instance {
	if s.database == nil {
		return nil
	}
	all := []httpapi.Instance{}
	for _, p := range s.database.peers.List() {
		all = append(all, httpapi.Instance{
			ID: p.ID, Address: p.Address, Hostname: p.Hostname, Version: p.Version, StartedAt: p.StartedAt,
			SeenAt: p.SeenAt, Alive: p.Alive, Self: p.Self,
		})
	}
	return all
}

// pingTimeout bounds the questions to the database for a report.
const pingTimeout = 2 * time.Second

// detailsAge is how old the size of the database and the list of imports may be.
const detailsAge = 10 * time.Second

// details are figures that change slowly, and are not worth an alarm: what cannot be read is as it was.
func (db *database) details(ctx context.Context) (postgres.Stats, []postgres.Import) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if time.Since(db.read) < detailsAge {
		return db.stats, db.imports
	}
	stats, err := db.store.Stats(ctx)
	if err != nil {
		return db.stats, db.imports
	}
	imports, err := db.store.Imports(ctx)
	if err == nil {
		db.stats, db.imports, db.read = stats, imports, time.Now()
	}
	return stats, imports
}
