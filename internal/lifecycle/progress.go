package lifecycle

import (
	"sync"

	"berth/internal/session"
)

// stages holds how far the starts have come that this process carries out.
type stages struct {
	mu sync.Mutex
	of map[session.ID]session.Stage
}

func (t *stages) set(id session.ID, stage session.Stage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.of[id] = stage
}

func (t *stages) clear(id session.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.of, id)
}

func (t *stages) get(id session.ID) session.Stage {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.of[id]
}

// Progress returns how far the start of a session has come, as this process knows it: it asks neither the store nor the runtime.
// A start of another process is queued until it has ended.
func (m *Manager) Progress(id session.ID) session.Progress {
	s, known := m.routes.known(id)
	stage := m.make.stages.get(id)
	switch {
	case !known:
		return session.Progress{Stage: session.StageStopped}
	case stage == session.StageServer && isCloning(s):
		return session.Progress{Stage: stage, Message: "The repository is being cloned into the workspace."}
	case stage != "":
		return session.Progress{Stage: stage}
	case s.Operation != nil && s.Operation.Kind.BringsUp(), s.Operation == nil && m.rules.restartsAgain(s):
		return session.Progress{Stage: session.StageQueued}
	case s.Status == session.Running && m.routes.addressOf(id) != "":
		return session.Progress{Stage: session.StageReady}
	case s.Status == session.Error:
		return session.Progress{Stage: session.StageFailed, Message: s.LastError}
	}
	return session.Progress{Stage: session.StageStopped}
}
