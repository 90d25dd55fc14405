package lifecycle_test

import (
	"sync"
	"time"

	"berth/internal/session"
)

// peers is a scriptable Peers.
type peers struct {
	mu          sync.Mutex
	living      map[string]bool
	foreign     map[session.ID]bool // sessions of another process
	missing     time.Time
	unreachable bool
}

func (p *peers) Alive(process string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.living[process]
}

func (p *peers) Mine(id session.ID) bool { p.mu.Lock(); defer p.mu.Unlock(); return !p.foreign[id] }

func (p *peers) UnreachableSince() time.Time { p.mu.Lock(); defer p.mu.Unlock(); return p.missing }
