package app

import (
	"net/netip"
	"net/url"

	"berth/internal/config"
	"berth/internal/hostip"
)

// newDetector returns what finds the Docker host, nil where that need not be found: the engine's loopback address is this
// machine's own.
func newDetector(d config.Docker) *hostip.Detector {
	if d.ReachedAt == "" && isHere(d.Host) {
		return nil
	}
	return hostip.New(hostip.Options{HostIP: d.ReachedAt, DockerHostGateway: d.HostGateway, Gateway: d.Gateway})
}

// isHere reports whether the engine is reached by a socket or a loopback address.
func isHere(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme == "unix" {
		return true
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
}

// dialFailed is told of sessions' servers that were not reached: the Docker host may be somewhere else now.
func (a *App) dialFailed() {
	if a.detector != nil {
		a.detector.Forget()
	}
}
