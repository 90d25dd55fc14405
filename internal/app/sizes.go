package app

import (
	"berth/internal/httpapi"
	"berth/internal/session"
	"berth/internal/workspace"
)

// measureEvery is how many reconciliations there are for each measurement of the volumes, which costs more.
const measureEvery = 10

func (a *App) newSizes() (*workspace.Monitor, error) {
	limits := a.cfg.Limits
	return workspace.New(workspace.Options{
		Containers: a.runtime.List, Every: measureEvery * a.cfg.Session.ReconcileInterval.Duration(),
		Warning: limits.WorkspaceWarning, Limit: limits.WorkspaceLimit, Stop: a.manager.StopOversized, Logger: a.named("workspace"),
	})
}

// sizeOf is the newest measurement of a session; nil when there is none.
func (a *App) sizeOf(id session.ID) *httpapi.WorkspaceSize {
	s, ok := a.sizes.Size(id)
	if !ok {
		return nil
	}
	return &httpapi.WorkspaceSize{Bytes: int64(s.Bytes), Partial: s.Partial, MeasuredAt: s.At, Level: levels[s.Level]}
}

var levels = map[workspace.Level]string{workspace.Fine: "ok", workspace.Warning: "warning", workspace.Over: "limit"}

// workspaces is what all sessions take together; nil before the first measurement.
func (a *App) workspaces() *httpapi.Workspaces {
	sum := a.sizes.Summary()
	if sum.At.IsZero() {
		return nil
	}
	return &httpapi.Workspaces{
		Measured: sum.Measured, Bytes: int64(sum.Bytes), Largest: int64(sum.Largest), Warned: sum.Warned, Over: sum.Over, MeasuredAt: sum.At,
	}
}
