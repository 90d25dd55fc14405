package health

import (
	"slices"

	"berth/internal/httpapi"
	"berth/internal/pki"
	"berth/internal/pressure"
)

// faults are inputs of the overall status that are not in the report.
type faults struct {
	notReady, unreadable, unrecorded bool
	database, foreign                string // sentences
}

// overall returns the overall status, and the reasons if it is not healthy: the table in docs/operating.md.
func overall(h httpapi.Health, f faults) (status string, reasons []string) {
	status = "healthy"
	for _, row := range []struct {
		holds          bool
		status, reason string
	}{
		{f.notReady, "unhealthy", "Berth is starting or stopping"},
		{f.unreadable, "unhealthy", "the store cannot be read or written"},
		{h.Database != nil && h.Database.Status != "healthy", "degraded", f.database},
		{h.Runtime.Status != "healthy", "degraded", "the engine cannot be reached, see runtime.detail; running sessions are served, none can be started"},
		{f.unrecorded, "degraded", "the engine has containers of this installation that the store does not know; they are kept, see berth store adopt"},
		{f.foreign != "", "degraded", f.foreign},
		{h.Resources.Status == pressure.Critical.String(), "degraded", "the host is short of memory or CPU time; no session is started"},
		{isDiskFull(h, DiskEngine), "degraded", "the engine's disk is full; sessions cannot be created, and those that run cannot save their work"},
		{isDiskFull(h, DiskState), "degraded", "the disk of the state directory is full; only what frees resources is still recorded"},
		{slices.ContainsFunc(h.Certificates, expires), "degraded", "a certificate has expired or is about to"},
	} {
		if !row.holds {
			continue
		}
		reasons = append(reasons, row.reason)
		if status != "unhealthy" {
			status = row.status
		}
	}
	return status, reasons
}

func isDiskFull(h httpapi.Health, name string) bool {
	return slices.ContainsFunc(h.Disks, func(d httpapi.Disk) bool {
		return d.Disk == name && d.Status == pressure.Critical.String()
	})
}

func expires(c httpapi.Certificate) bool { return c.Level == string(pki.UrgencyCritical) }
