package guard

import (
	"crypto/rand"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// ProbePath announces a test that this guard refuses clients which it must refuse, so that the test is not logged as an
// attack. It answers a client that is admitted with {"protocol": "…"}, an ALPN protocol name that no other client can know;
// the handshakes that offer it within [probeLife] are the test's. It changes nothing about who is admitted.
const ProbePath = "/_berth/probe"

const (
	probePrefix     = "berth-probe-"
	probeLife       = time.Minute
	probeHandshakes = 8  // of one announced test
	mostProbes      = 64 // announced tests, and connections of theirs, that are remembered
)

// probes are the announced tests, and the remote addresses of connections that belong to one.
type probes struct {
	mu        sync.Mutex
	announced map[string]*probe    // by protocol name
	remotes   map[string]time.Time // when they are forgotten
}

type probe struct {
	until time.Time
	left  int // handshakes
}

func newProbes() *probes {
	return &probes{announced: map[string]*probe{}, remotes: map[string]time.Time{}}
}

// serve answers ProbePath.
func (p *probes) serve(w http.ResponseWriter) {
	name := probePrefix + strings.ToLower(rand.Text())
	now := time.Now()
	p.mu.Lock()
	p.forget(now)
	full := len(p.announced) >= mostProbes
	if !full {
		p.announced[name] = &probe{until: now.Add(probeLife), left: probeHandshakes}
	}
	p.mu.Unlock()
	if full {
		writeError(w, http.StatusTooManyRequests, "too many tests of the guard at once: try again in a minute")
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"protocol": name})
}

// forget removes expired probes. The caller holds mu.
func (p *probes) forget(now time.Time) {
	for name, one := range p.announced {
		if now.After(one.until) || one.left <= 0 {
			delete(p.announced, name)
		}
	}
	for remote, until := range p.remotes {
		if now.After(until) {
			delete(p.remotes, remote)
		}
	}
}

// watch returns config with an inspection of every ClientHello.
func (p *probes) watch(config *tls.Config) *tls.Config {
	watched := config.Clone()
	watched.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		p.note(hello.Conn, hello.SupportedProtos)
		if config.GetConfigForClient == nil {
			return config, nil
		}
		return config.GetConfigForClient(hello)
	}
	return watched
}

// note records a connection that belongs to an announced test.
func (p *probes) note(conn net.Conn, protocols []string) {
	for _, name := range protocols {
		if !strings.HasPrefix(name, probePrefix) {
			continue
		}
		now := time.Now()
		p.mu.Lock()
		p.forget(now)
		if one := p.announced[name]; one != nil && len(p.remotes) < mostProbes {
			one.left--
			p.remotes[conn.RemoteAddr().String()] = now.Add(probeLife)
		}
		p.mu.Unlock()
		return
	}
}

// take reports whether a refused connection was that of a test, once.
func (p *probes) take(remote string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	until, ok := p.remotes[remote]
	delete(p.remotes, remote)
	return ok && time.Now().Before(until)
}
