package app

import (
	"context"
	"slices"
	"strings"

	"berth/internal/config"
)

// reloadable are the settings that can be changed while Berth runs.
var reloadable = []string{
	"LOG_LEVEL", "MAX_CONCURRENT_SESSIONS", "models", "BERTH_MODEL", "BERTH_SMALL_MODEL", "egress", "budgets", "BERTH_CURRENCY",
	"MEMORY_WARNING_THRESHOLD", "CPU_WARNING_THRESHOLD", "RESOURCE_CRITICAL_THRESHOLD",
}

// Reload applies those settings of a valid configuration that can change while Berth runs, and logs which have changed and
// which need a restart. Certificates need no reload: changes of their files are detected.
func (a *App) Reload(ctx context.Context, cfg config.Config) error {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	now := *a.live.Load()
	var taken, waiting []string
	for _, name := range config.Changed(now, cfg) {
		if slices.Contains(reloadable, name) {
			taken = append(taken, name)
		} else {
			waiting = append(waiting, name)
		}
	}
	next := now
	next.Log.Level = cfg.Log.Level
	next.Limits.MaxSessions = cfg.Limits.MaxSessions
	next.Limits.MemoryWarning, next.Limits.CPUWarning, next.Limits.Critical = cfg.Limits.MemoryWarning, cfg.Limits.CPUWarning, cfg.Limits.Critical
	if err := a.host.pressure.Adjust(next.Limits.MemoryWarning, next.Limits.CPUWarning, next.Limits.Critical); err != nil {
		return err
	}
	if a.gateway != nil {
		if err := a.gateway.reload(cfg); err != nil {
			return err
		}
		next.Models, next.Egress.Lists, next.Egress.Private = cfg.Models, cfg.Egress.Lists, cfg.Egress.Private
	}
	a.ledger.SetBudgets(cfg.Budgets.Limits())
	next.Budgets = cfg.Budgets
	a.manager.Limit(next.Limits.MaxSessions)
	if a.around.level != nil {
		a.around.level.Set(next.Log.Level.Level())
	}
	a.live.Store(&next)
	a.log.InfoContext(ctx, "configuration reloaded", "changed", strings.Join(taken, " "))
	if len(waiting) > 0 {
		a.log.WarnContext(ctx, "changed settings need a restart", "settings", strings.Join(waiting, " "))
	}
	return nil
}
