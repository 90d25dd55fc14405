package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode"

	"berth/internal/session"
)

// bringUp makes the session's container if there is none, starts it if it does not run, and waits until its server can
// be given traffic. It is safe to repeat from any state that an earlier try has left.
func (m *Manager) bringUp(ctx context.Context, s session.Session) (session.Container, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, m.opts.StartTimeout, errStartTimeout)
	defer cancel()
	s, err := m.finishReverting(ctx, s)
	if err != nil {
		return session.Container{}, m.explain(ctx, s, err)
	}
	c, err := m.ensureContainer(ctx, s)
	if err != nil {
		return session.Container{}, m.explain(ctx, s, err)
	}
	if c.State != session.StateRunning {
		err := m.runtime.Start(ctx, c.ID)
		if session.CodeOf(err) == session.CodeConflict { // the engine has lost track of an earlier run of it
			c, err = m.startAnother(ctx, s)
		}
		if err != nil {
			return c, m.explain(ctx, s, err)
		}
	}
	ready, err := m.awaitReady(ctx, s, c.ID)
	if err != nil {
		return c, m.explain(ctx, s, err)
	}
	return ready, nil
}

// startAnother replaces a container that the engine cannot start by a new one on the same volumes.
func (m *Manager) startAnother(ctx context.Context, s session.Session) (session.Container, error) {
	if err := m.holds(ctx, s); err != nil {
		return session.Container{}, err
	}
	if err := m.runtime.Remove(ctx, s.ContainerName, true); err != nil {
		return session.Container{}, err
	}
	c, err := m.ensureContainer(ctx, s)
	if err == nil {
		err = m.runtime.Start(ctx, c.ID)
	}
	return c, err
}

var errStartTimeout = errors.New("the time for starting is up")

// explain turns the end of the time for starting into an error that says so, whatever call it interrupted.
func (m *Manager) explain(ctx context.Context, s session.Session, err error) error {
	if errors.Is(context.Cause(ctx), errStartTimeout) && session.CodeOf(err) != session.CodeStartFailed {
		return session.Errorf(session.CodeStartTimeout, "session %s was not ready after %s; see its logs, or raise SESSION_START_TIMEOUT",
			s.ID, m.opts.StartTimeout).Because(err)
	}
	return err
}

// ensureContainer returns the session's container, made now if need be. One that can neither run nor be started, and one
// that does not run and is not what would be made now, is replaced: its volumes hold everything that has to be kept.
func (m *Manager) ensureContainer(ctx context.Context, s session.Session) (session.Container, error) {
	spec := m.specOf(s)
	c, err := m.runtime.Inspect(ctx, s.ContainerName)
	switch {
	case session.CodeOf(err) == session.CodeNotFound && s.Operation != nil && s.Operation.Automatic(s) && !m.opts.Peers.UnreachableSince().IsZero():
		return session.Container{}, fmt.Errorf("the container may have been removed with the session: %w", errTakenOver)
	case session.CodeOf(err) == session.CodeNotFound:
	case err != nil:
		return session.Container{}, err
	case c.State == session.StateRunning:
		return c, nil
	case c.State == session.StateCreated || c.State == session.StateExited:
		replace, err := m.isOutdated(ctx, s, spec)
		if err != nil || !replace {
			return c, err
		}
		if err := m.holds(ctx, s); err != nil {
			return session.Container{}, err
		}
		if err := m.runtime.Remove(ctx, s.ContainerName, true); err != nil {
			return session.Container{}, err
		}
	default:
		if err := m.holds(ctx, s); err != nil {
			return session.Container{}, err
		}
		if err := m.runtime.Remove(ctx, s.ContainerName, true); err != nil {
			return session.Container{}, err
		}
	}
	if err := m.enoughMemory(s.Profile, spec.Profile); err != nil {
		return session.Container{}, err
	}
	return m.runtime.Create(ctx, spec)
}

// specOf is the container that the session would get now.
func (m *Manager) specOf(s session.Session) session.Spec {
	return session.Spec{
		Session: s.ID, Name: s.ContainerName, Profile: *m.profileOf(s), ProfileName: s.Profile, Image: m.imageOf(s),
		Credential: m.keys.Upstream(s.ContainerName), Limits: m.opts.Limits, CreatedAt: s.CreatedAt,
		InUse: s.ContainerID != "",
	}
}

// imageOf is the image that the session's next container is made from.
func (m *Manager) imageOf(s session.Session) string {
	profile, known := m.opts.Profiles[s.Profile]
	upgrading := s.Operation != nil && s.Operation.Kind == session.OpUpgrade
	if known && s.ImageSource == session.ImageFromProfile && !upgrading {
		return profile.Image
	}
	return cmp.Or(s.Image, m.profileOf(s).Image)
}

// isOutdated reports whether the session's container has to be replaced by one made now. A container that could not be
// made again is kept, as long as the session need not have another one.
func (m *Manager) isOutdated(ctx context.Context, s session.Session, spec session.Spec) (bool, error) {
	if _, known := m.opts.Profiles[s.Profile]; !known { // the default profile's volumes would not be this session's
		return false, nil
	}
	parts, err := m.runtime.Drift(ctx, s.ContainerName, spec)
	if len(parts) == 0 || err != nil {
		return false, err
	}
	err = m.enoughMemory(s.Profile, spec.Profile)
	if err == nil {
		err = m.runtime.CheckImage(ctx, spec.Profile, spec.Image)
	}
	code := session.CodeOf(err)
	switch {
	case err == nil:
		m.opts.Logger.InfoContext(ctx, "container is made again with the present settings", "session_id", s.ID, "changed", parts)
		return true, nil
	case code != session.CodeImageNotFound && code != session.CodeInvalid || s.Operation != nil && s.Operation.Kind == session.OpUpgrade:
		return false, err
	}
	m.opts.Logger.WarnContext(ctx, "container is out of date and stays, because no other can be made now", "session_id", s.ID,
		"changed", parts, "error", err)
	return false, nil
}

// OutOfDate names what a session's container would get with its next start: nothing when it is as it would be made now, or
// when there is none.
func (m *Manager) OutOfDate(ctx context.Context, s session.Session) ([]session.Part, error) {
	if _, known := m.opts.Profiles[s.Profile]; !known {
		return nil, nil
	}
	parts, err := m.runtime.Drift(ctx, s.ContainerName, m.specOf(s))
	return parts, ignoreNotFound(err)
}

// firstProbeInterval is how long after the first probe of a server the second one starts.
const firstProbeInterval = 5 * time.Millisecond

// awaitReady probes until the server answers. A server may accept a connection before anyone looks at it and then
// never answer it, so that probes overlap: a new one, on its own connection, starts at each interval. The first intervals
// are short and grow, because most servers that are nearly ready refuse the first probe at once.
func (m *Manager) awaitReady(ctx context.Context, s session.Session, ref string) (session.Container, error) {
	ctx, cancel := context.WithCancel(ctx)
	var probes sync.WaitGroup
	defer probes.Wait()
	defer cancel()

	ready := make(chan session.Container, 1)
	var seen lastSeen
	interval := min(firstProbeInterval, m.opts.ProbeInterval)
	next := time.NewTimer(interval)
	defer next.Stop()
	for {
		c, err := m.runtime.Inspect(ctx, ref)
		if err != nil {
			return session.Container{}, err
		}
		if c.State != session.StateRunning && c.State != session.StateRestarting {
			return session.Container{}, m.startFailure(ctx, c)
		}
		if c.Address == "" {
			return session.Container{}, session.Errorf(session.CodePortTaken, "the container of session %s runs without a published port; "+
				"look at the engine's network settings", s.ID)
		}
		probes.Go(func() {
			probe, cancel := context.WithTimeout(ctx, m.opts.ProbeTimeout)
			defer cancel()
			err := m.prober.Probe(probe, session.Target{
				Address: c.Address, Credential: m.keys.Upstream(s.ContainerName), Profile: m.profileOf(s),
			})
			if err != nil {
				seen.set(err)
				return
			}
			select {
			case ready <- c:
			default:
			}
		})
		select {
		case c := <-ready:
			return c, nil
		case <-next.C:
			interval = min(interval+interval/2, m.opts.ProbeInterval)
			next.Reset(interval)
		case <-ctx.Done():
			return session.Container{}, fmt.Errorf("wait for the server: %w; last seen: %w", context.Cause(ctx), seen.get())
		}
	}
}

// lastSeen keeps the newest error of several probes.
type lastSeen struct {
	mu  sync.Mutex
	err error
}

func (l *lastSeen) set(err error) { l.mu.Lock(); l.err = err; l.mu.Unlock() }

func (l *lastSeen) get() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		return errors.New("nothing yet")
	}
	return l.err
}

// startFailure says why a container does not run that should, in the server's own last words if it left any.
func (m *Manager) startFailure(ctx context.Context, c session.Container) error {
	switch {
	case c.OOMKilled:
		return session.Errorf(session.CodeStartFailed, "the server ran out of memory at start; raise CONTAINER_MEMORY_LIMIT")
	case c.Fault != "":
		return session.Errorf(session.CodeStartFailed, "the container could not be started: %s", line(c.Fault))
	}
	words := ""
	if logs, err := m.runtime.Logs(ctx, c.ID, session.LogOptions{Tail: 1}); err == nil {
		text, _ := io.ReadAll(io.LimitReader(logs, 4096))
		_ = logs.Close()
		if said := line(string(text)); said != "" {
			words = "; its last words: " + said
		}
	}
	return session.Errorf(session.CodeStartFailed, "the server exited with code %d at start%s", c.ExitCode, words)
}

// line makes foreign text fit for one line of a message: no control characters, at most 300 bytes or so.
func line(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, strings.TrimSpace(text))
	if cut := 300; len(text) > cut {
		text = strings.ToValidUTF8(text[:cut], "") + "…"
	}
	return text
}
