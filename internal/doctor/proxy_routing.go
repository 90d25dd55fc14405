package doctor

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"berth/internal/hostip"
)

const maxProbes = 50 // sessions

// proxyRouting checks that running sessions can be reached from this machine, as the proxy must.
func proxyRouting(ctx context.Context, o *Options) []Finding {
	sessions, none := o.sessions(ctx)
	if none != nil {
		return none
	}
	if len(sessions) == 0 {
		return []Finding{skip("no-sessions", "no session is running, so there is no route to try")}
	}
	var findings []Finding
	tried := 0
	starting := 0
	for _, s := range sessions[:min(len(sessions), maxProbes)] {
		if !isUp(s) {
			starting++
			continue
		}
		addr, ok := o.sessionAddress(ctx, s)
		if !ok {
			findings = append(findings, warn("no-route", "restart the session: berth session restart", "session container %s has neither a published port nor an address", nameOf(s)))
			continue
		}
		tried++
		if err := answers(ctx, addr); err != nil {
			if !isBlocked(ctx, addr) && o.sessionStarting(ctx, s) {
				starting++
				tried--
				continue
			}
			findings = append(findings, fail("session-unreachable", "see that the firewalls between here and the engine's host let "+addr+
				" through, and look at SESSION_ROUTE, SESSION_PUBLISH_IP and \"berth hostip\"", "session container %s is not reached at %s: %v", nameOf(s), addr, err))
		}
	}
	if starting > 0 {
		findings = append(findings, skip("sessions-starting", "%d session(s) are starting, restarting or unhealthy: they say nothing about the route", starting))
	}
	if tried == 0 {
		return findings
	}
	return orPass(findings, pass("sessions-reached", "%d of %d running sessions were tried, and answer", tried, len(sessions)))
}

// isUp reports whether a listed container runs and its health check, if it has one, passes.
func isUp(s container.Summary) bool {
	return (s.State == "" || s.State == container.StateRunning) && !strings.Contains(s.Status, "(health: starting)") && !strings.Contains(s.Status, "(unhealthy)")
}

// isBlocked reports whether packets to an address get no reply, which a starting server does not cause.
func isBlocked(ctx context.Context, address string) bool {
	conn, err := (&net.Dialer{Timeout: probeTimeout}).DialContext(ctx, "tcp", address)
	if err != nil {
		return !errors.Is(err, syscall.ECONNREFUSED)
	}
	_ = conn.Close()
	return false
}

// sessionStarting reports whether a container that did not respond has ended since, or was started so recently that its server
// may not be ready. A container that Berth restarts repeatedly is always in one of these states.
func (o *Options) sessionStarting(ctx context.Context, s container.Summary) bool {
	result, err := o.Engine.ContainerInspect(ctx, s.ID, client.ContainerInspectOptions{})
	if err != nil {
		return errdefs.IsNotFound(err)
	}
	state := result.Container.State
	if state == nil {
		return false
	}
	started, err := time.Parse(time.RFC3339Nano, state.StartedAt)
	return !state.Running || state.Restarting || state.Paused ||
		err == nil && time.Since(started) < o.Config.Session.StartTimeout.Duration()
}

// sessionAddress returns the address of a session as seen from this machine: its published port, or else its own address.
func (o *Options) sessionAddress(ctx context.Context, s container.Summary) (string, bool) {
	for _, p := range s.Ports {
		if p.PublicPort == 0 || p.Type != "tcp" {
			continue
		}
		port := strconv.Itoa(int(p.PublicPort))
		if p.IP.IsValid() && !p.IP.IsUnspecified() && (!p.IP.IsLoopback() || o.engineIsHere(ctx)) {
			return net.JoinHostPort(p.IP.Unmap().String(), port), true
		}
		if found, err := o.DetectHost(ctx, p.PublicPort, hostip.IsSession); err == nil {
			return net.JoinHostPort(found.Addr.String(), port), true
		}
		if addrs, err := o.engineAddrs(ctx); err == nil && len(addrs) > 0 {
			return net.JoinHostPort(addrs[0].String(), port), true
		}
		return net.JoinHostPort("127.0.0.1", port), true
	}
	if s.NetworkSettings == nil {
		return "", false
	}
	for _, at := range s.NetworkSettings.Networks { // a session's container is on one
		if port := s.Labels[labelPort]; at != nil && at.IPAddress.IsValid() && port != "" {
			return net.JoinHostPort(at.IPAddress.Unmap().String(), port), true
		}
	}
	return "", false
}
