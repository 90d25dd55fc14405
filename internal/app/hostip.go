package app

import (
	"berth/internal/config"
	"berth/internal/hostip"
)

// newDetector returns what finds the Docker host, nil where that need not be found: the engine's loopback address is this
// machine's own.
func newDetector(d config.Docker) *hostip.Detector {
	if d.ReachedAt == "" && hostip.IsLocal(d.Host) {
		return nil
	}
	return hostip.New(hostip.Options{HostIP: d.ReachedAt, DockerHostGateway: d.HostGateway, Gateway: d.Gateway})
}

// dialFailed is called when a session's server was not reached: the Docker host may be somewhere else now.
func (a *App) dialFailed() {
	if a.detector != nil {
		a.detector.Forget()
	}
}
