package lifecycle

import (
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

// bringUp creates the session's container if there is none, starts it if it does not run, and waits until its server is ready.
// It can be repeated from any state that an earlier attempt has left.
func (b *containers) bringUp(ctx context.Context, s session.Session) (session.Container, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, b.startTimeout(s), errStartTimeout)
	defer cancel()
	b.stages.set(s.ID, session.StageContainer)
	defer b.stages.clear(s.ID)
	s, err := b.completeRevert(ctx, s)
	if err != nil {
		return session.Container{}, b.explainTimeout(ctx, s, err)
	}
	c, err := b.ensureContainer(ctx, s)
	if err != nil {
		return session.Container{}, b.explainTimeout(ctx, s, err)
	}
	if c.State != session.StateRunning {
		err := b.runtime.Start(ctx, c.ID)
		if session.CodeOf(err) == session.CodeConflict { // the engine holds stale state of an earlier run
			c, err = b.replaceAndStart(ctx, s)
		}
		if err != nil {
			return c, b.explainTimeout(ctx, s, err)
		}
	}
	b.stages.set(s.ID, session.StageServer)
	ready, err := b.awaitReady(ctx, s, c.ID)
	if err != nil {
		return c, b.explainTimeout(ctx, s, err)
	}
	return ready, nil
}

// startTimeout is the time within which a session's server must be ready.
func (b *containers) startTimeout(s session.Session) time.Duration {
	if isCloning(s) {
		return b.opts.StartTimeout + b.opts.CloneTimeout
	}
	return b.opts.StartTimeout
}

// replaceAndStart replaces a container that the engine cannot start by a new one on the same volumes.
func (b *containers) replaceAndStart(ctx context.Context, s session.Session) (session.Container, error) {
	if err := b.records.holds(ctx, s); err != nil {
		return session.Container{}, err
	}
	if err := b.runtime.Remove(ctx, s.ContainerName, true); err != nil {
		return session.Container{}, err
	}
	c, err := b.ensureContainer(ctx, s)
	if err == nil {
		err = b.runtime.Start(ctx, c.ID)
	}
	return c, err
}

var errStartTimeout = errors.New("start time-out exceeded")

// explainTimeout replaces the error of any call that the start time-out interrupted by one that names the time-out.
func (b *containers) explainTimeout(ctx context.Context, s session.Session, err error) error {
	if errors.Is(context.Cause(ctx), errStartTimeout) && session.CodeOf(err) != session.CodeStartFailed {
		if isCloning(s) {
			return session.Errorf(session.CodeStartTimeout, "session %s was not ready after %s, which includes the clone of its repository; see its logs, or raise "+
				"SESSION_CLONE_TIMEOUT", s.ID, b.startTimeout(s)).Because(err)
		}
		return session.Errorf(session.CodeStartTimeout, "session %s was not ready after %s; see its logs, or raise SESSION_START_TIMEOUT",
			s.ID, b.opts.StartTimeout).Because(err)
	}
	return err
}

// ensureContainer returns the session's container and creates it if necessary. A container that cannot be started, and a stopped
// one that is out of date, is replaced: everything that has to be kept is in its volumes.
func (b *containers) ensureContainer(ctx context.Context, s session.Session) (session.Container, error) {
	spec, err := b.fullSpec(ctx, s)
	if err != nil {
		return session.Container{}, err
	}
	c, err := b.runtime.Inspect(ctx, s.ContainerName)
	switch {
	case session.CodeOf(err) == session.CodeNotFound && s.Operation != nil && isAutomatic(s) && !b.opts.Peers.UnreachableSince().IsZero():
		return session.Container{}, fmt.Errorf("the container may have been removed with the session: %w", errTakenOver)
	case session.CodeOf(err) == session.CodeNotFound:
	case err != nil:
		return session.Container{}, err
	case c.State == session.StateRunning:
		return c, nil
	case c.State == session.StateStopped:
		replace, err := b.isOutdated(ctx, s, spec)
		if err != nil || !replace {
			return c, err
		}
		if err := b.records.holds(ctx, s); err != nil {
			return session.Container{}, err
		}
		if err := b.runtime.Remove(ctx, s.ContainerName, true); err != nil {
			return session.Container{}, err
		}
	default:
		if err := b.records.holds(ctx, s); err != nil {
			return session.Container{}, err
		}
		if err := b.runtime.Remove(ctx, s.ContainerName, true); err != nil {
			return session.Container{}, err
		}
	}
	if err := b.opts.enoughMemory(s.Profile, spec.Profile, s.Shape); err != nil {
		return session.Container{}, err
	}
	return b.runtime.Create(ctx, spec)
}

// firstProbeInterval is how long after the first probe of a server the second one starts.
const firstProbeInterval = 5 * time.Millisecond

// addressTimeout is how long a running container may be without an address before its start counts as failed: an engine may
// attach it to its network, or report that, only after it has started.
const addressTimeout = 5 * time.Second

// awaitReady probes until the server answers. A server may accept a connection before it serves and then never answer on it, so
// probes overlap: a new one, on its own connection, starts at each interval. The intervals begin short and grow, because most
// servers that are nearly ready refuse the first probe immediately.
func (b *containers) awaitReady(ctx context.Context, s session.Session, ref string) (session.Container, error) {
	ctx, cancel := context.WithCancel(ctx)
	var probes sync.WaitGroup
	defer probes.Wait()
	defer cancel()

	begun := time.Now()
	ready := make(chan session.Container, 1)
	var seen lastSeen
	interval := min(firstProbeInterval, b.opts.ProbeInterval)
	next := time.NewTimer(interval)
	defer next.Stop()
	for {
		c, err := b.runtime.Inspect(ctx, ref)
		if err != nil {
			return session.Container{}, err
		}
		if c.State != session.StateRunning && c.State != session.StateChanging {
			return session.Container{}, b.startFailure(ctx, s, c)
		}
		b.routes.setCaller(s.ID, c.NetworkIP)
		if c.Address == "" && c.State == session.StateRunning && time.Since(begun) >= addressTimeout {
			return session.Container{}, session.Errorf(session.CodePortTaken, "the container of session %s runs without a published port; "+
				"look at the engine's network settings", s.ID)
		}
		probe := func() {
			probe, cancel := context.WithTimeout(ctx, b.opts.ProbeTimeout)
			defer cancel()
			err := b.prober.Probe(probe, session.Target{
				Address: c.Address, Credential: b.keys.Upstream(s.ContainerName), Profile: b.routes.profileOf(s),
			})
			if err != nil {
				seen.set(err)
				return
			}
			select {
			case ready <- c:
			default:
			}
		}
		if c.Address != "" { // otherwise the next inspection may find one
			probes.Go(probe)
		}
		select {
		case c := <-ready:
			return c, nil
		case <-next.C:
			interval = min(interval+interval/2, b.opts.ProbeInterval)
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

// exitNotCloned is the exit code of an image's entry point that could not clone the repository. The last line of its log says why.
const exitNotCloned = 65

// startFailure returns why a container does not run, with the server's last log line if there is one.
func (b *containers) startFailure(ctx context.Context, s session.Session, c session.Container) error {
	switch {
	case c.OOMKilled:
		return session.Errorf(session.CodeStartFailed, "the server ran out of memory at start; raise CONTAINER_MEMORY_LIMIT")
	case c.Fault != "":
		return session.Errorf(session.CodeStartFailed, "the container could not be started: %s", line(c.Fault))
	}
	lastLine := ""
	if logs, err := b.runtime.Logs(ctx, c.ID, session.LogOptions{Tail: 1}); err == nil {
		text, _ := io.ReadAll(io.LimitReader(logs, 4096))
		_ = logs.Close()
		if text := line(string(text)); text != "" {
			if c.ExitCode == exitNotCloned && s.Shape.Repository != "" {
				return session.Errorf(session.CodeStartFailed, "%s", text)
			}
			lastLine = "; its last log line: " + text
		}
	}
	return session.Errorf(session.CodeStartFailed, "the server exited with code %d at start%s", c.ExitCode, lastLine)
}

// line makes text of a container or the engine safe for one line of a message: no control characters, about 300 bytes at most.
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

// completeRevert completes an interrupted revert before a server of the session is started.
func (b *containers) completeRevert(ctx context.Context, s session.Session) (session.Session, error) {
	if s.Upgrade == nil || s.Upgrade.Step != session.StepRevert || s.Operation == nil || s.Operation.Kind == session.OpUpgrade {
		return s, nil
	}
	err := b.restoreCopy(ctx, s)
	if err != nil && !errors.Is(err, errNoCopy) {
		return s, err
	}
	return b.records.changeOwned(ctx, s, func(now *session.Session) {
		if now.Upgrade = nil; err != nil {
			b.reports.appendEvent(ctx, now, session.EventReverted, session.MessageOf(err))
		}
	})
}
