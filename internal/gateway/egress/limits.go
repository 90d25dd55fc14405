package egress

import (
	"cmp"
	"time"
)

// Limits bound what sessions can use of the gateway. Zero: the default.
type Limits struct {
	Connections int           // at the same time; default 2048
	PerSession  int           // of one session at the same time; default 256
	Idle        time.Duration // without a byte in either direction; default 6 hours, for WebSockets that only wait
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Connections: cmp.Or(l.Connections, 2048),
		PerSession:  cmp.Or(l.PerSession, 256),
		Idle:        cmp.Or(l.Idle, 6*time.Hour),
	}
}

const (
	handshakeTimeout = 10 * time.Second // until a client has sent its TLS or HTTP header
	drainTimeout     = 3 * time.Second  // for a client to read the end of what it was sent
	maxHello         = 64 << 10         // bytes of a ClientHello with its record headers
	maxHeader        = 64 << 10         // bytes of a request header
)
