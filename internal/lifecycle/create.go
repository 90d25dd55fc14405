package lifecycle

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"

	"berth/internal/session"
)

// Request says what session to create. Every field may be empty.
type Request struct {
	Owner    string           // at most 255 characters, none of them invisible
	Profile  string           // default: Options.DefaultProfile
	Image    string           // default: the profile's
	Metadata session.Metadata // at most 64 KiB of JSON
	Shape    session.Shape    // never more than the profile and the operator's maxima allow

	TokenDigest string // of the session's token; empty: no token is accepted

	// IdempotencyKey makes a repeated request harmless: the same owner and key lead to the same session. At most 255
	// characters, none of them invisible.
	IdempotencyKey string
	// Creator keeps the keys of those apart who may create sessions and may not sign in to others' sessions: a repeated request
	// shows a token. No invisible characters; empty: the owner, or somebody who may sign in to all sessions.
	Creator string
}

// Issued is a session that has the token of the request.
type Issued struct {
	*Work
	Replayed bool // the request is repeated: this is the session that the first one created, with the token of this request
}

// Create records a session and begins to create its container. Errors: CodeInvalid, CodeImageNotFound, CodeLimit, CodeOwnerLimit, CodePressure;
// with an idempotency key also CodeInProgress while the first request is in progress, and CodeIdempotencyMismatch if the key was
// used for a different request.
//
// A request that is repeated after it was answered gets its session with a new token, because the response with the first token
// may have been lost. The first token is rejected from then on.
func (m *Manager) Create(ctx context.Context, req Request) (Issued, error) {
	made, err := m.create(ctx, req)
	return made, m.reports.reportRefusal(ctx, OperationResult{Operation: string(session.OpCreate)}, err)
}

func (m *Manager) create(ctx context.Context, req Request) (Issued, error) {
	var err error
	if req.Metadata, err = normalMetadata(req.Metadata); err != nil {
		return Issued{}, err
	}
	asked := req
	req.Profile = cmp.Or(req.Profile, m.opts.DefaultProfile)
	profile, ok := m.opts.Profiles[req.Profile]
	if !ok {
		return Issued{}, session.Errorf(session.CodeInvalid, "there is no profile %q; leave it out for %q", req.Profile, m.opts.DefaultProfile)
	}
	source := session.ImageChosen
	if req.Image == "" {
		req.Image, source = profile.Image, session.ImageFromProfile
	}
	if err := req.check(); err != nil {
		return Issued{}, err
	}
	if err := m.opts.checkShape(req.Profile, profile, req.Shape); err != nil {
		return Issued{}, err
	}
	if source == session.ImageChosen {
		if err := m.opts.checkAllowed(req.Image); err != nil {
			return Issued{}, err
		}
	}
	id := session.NewID()
	if req.IdempotencyKey != "" {
		id = m.keys.IdempotentID(req.Owner, req.idempotencyKey())
	}
	now := m.opts.now()
	s := session.Session{
		ID: id, Owner: req.Owner, Profile: req.Profile, Image: req.Image, ImageSource: source, Metadata: req.Metadata, Shape: req.Shape.Clone(),
		ContainerName: newContainerName(), Status: session.Creating, CreatedAt: now, LastAccessed: now,
		Operation: m.rules.operation(session.OpCreate, now),
		Token:     session.Token{}.Replaced(req.TokenDigest, now, m.opts.TokenLife, 0),
	}
	if m.opts.MaxLifetime > 0 {
		s.ExpiresAt = now.Add(m.opts.MaxLifetime)
	}
	m.reports.appendEvent(ctx, &s, session.EventCreated, "")
	if req.Shape.Repository != "" {
		m.reports.appendEvent(ctx, &s, session.EventCloning, req.Shape.Repository)
	}
	s.Operation.Deadline = now.Add(m.rules.allowanceOf(s))

	w, _, err := m.queue.acquire(ctx, id, Command{Kind: session.OpCreate})
	if err != nil {
		return Issued{}, err
	}
	s, err = m.recordNew(ctx, s, req.IdempotencyKey != "")
	if err != nil {
		m.queue.release(w)
		if req.IdempotencyKey != "" && session.CodeOf(err) == session.CodeConflict {
			return m.replay(ctx, id, asked)
		}
		return Issued{}, m.reports.countRejection(ctx, err)
	}
	m.queue.launch(ctx, w, s)
	return Issued{Work: w}, nil
}

// recordNew writes a new session if it is admitted. A CodeConflict error, which means that the session may exist already, takes
// precedence over a CodeLimit or CodePressure error.
func (m *Manager) recordNew(ctx context.Context, s session.Session, known bool) (session.Session, error) {
	ctx, cancel := detach(ctx)
	defer cancel()
	err := m.make.checkImage(ctx, s)
	if err == nil {
		err = m.queue.admit(ctx)
	}
	if err != nil {
		if known {
			if _, lost := m.store.Get(ctx, s.ID); lost == nil {
				return session.Session{}, session.AlreadyExists(s.ID)
			}
		}
		return session.Session{}, err
	}
	return m.store.Create(ctx, s, session.Quota{Running: m.queue.maxSessions(), PerOwner: m.opts.MaxPerOwner})
}

// newContainerName returns a random name that does not identify the session: on the sessions' network, the engine's name server
// answers every container with the names of the others.
func newContainerName() string {
	text := make([]byte, 8)
	rand.Read(text)
	return "berth-" + hex.EncodeToString(text)
}

// replay answers a create whose session exists already.
func (m *Manager) replay(ctx context.Context, id session.ID, req Request) (Issued, error) {
	s, err := m.store.Get(ctx, id)
	if err != nil {
		return Issued{}, err
	}
	// The ID is derived from the owner, so that a session without an owner belongs to this one too: it was recovered from the
	// engine, which stores neither owners nor metadata.
	nameless := s.Owner == "" && req.Owner != ""
	if nameless {
		s.Owner, s.Metadata, s.Shape = req.Owner, req.Metadata, req.Shape
	}
	// The operator's defaults may have changed since the first request, and so may the image of a session that was upgraded.
	sameImage := s.Upgrade != nil || cmp.Or(req.Image, s.Image) == s.Image
	if s.Owner != req.Owner || cmp.Or(req.Profile, s.Profile) != s.Profile || !sameImage || !sameMetadata(s.Metadata, req.Metadata) || !s.Shape.Same(req.Shape) {
		return Issued{}, session.Errorf(session.CodeIdempotencyMismatch, "this idempotency key was used for a different request; use a new key")
	}
	if s.Operation != nil {
		return Issued{}, inProgressError(id, s.Operation.Kind)
	}
	if nameless {
		if _, err := m.records.change(ctx, id, func(now *session.Session) error {
			now.Owner, now.Metadata, now.Shape = req.Owner, req.Metadata, req.Shape.Clone()
			return nil
		}); err != nil {
			return Issued{}, err
		}
	}
	s, err = m.Rotate(ctx, id, req.TokenDigest, 0)
	if err != nil {
		return Issued{}, err
	}
	w := finished(s)
	if s.Status == session.Error { // the first attempt failed, and the caller retries
		if w, err = m.queue.submit(ctx, id, Command{Kind: session.OpStart}); err != nil {
			return Issued{}, err
		}
	}
	return Issued{Work: w, Replayed: true}, nil
}

// idempotencyKey returns the key within the owner's. Neither of its parts can contain the separator.
func (r Request) idempotencyKey() string {
	if r.Creator == "" {
		return r.IdempotencyKey
	}
	return r.IdempotencyKey + "\x00" + r.Creator
}

func (r Request) check() error {
	for _, f := range []struct{ name, text string }{
		{"owner", r.Owner}, {"image", r.Image}, {"idempotency key", r.IdempotencyKey}, {"creator", r.Creator},
	} {
		if err := session.CheckText(f.name, f.text); err != nil {
			return err
		}
	}
	return nil
}
