package health

import (
	"fmt"

	"berth/internal/httpapi"
	"berth/internal/pressure"
	"berth/internal/session"
	"berth/internal/workspace"
)

// The monitored disks.
const (
	DiskEngine = "engine" // images, containers and workspaces
	DiskState  = "state"  // Berth's own records
)

// resources reports the load of the host, with alerts.
func (r *Reporter) resources() (*httpapi.SystemResources, []httpapi.ResourceAlert) {
	now := r.Pressure.Snapshot()
	out := &httpapi.SystemResources{Status: now.Level().String(), Host: "engine"}
	if r.EngineElsewhere {
		out.Host = "berth"
	}
	if !now.At.IsZero() {
		out.MeasuredAt, out.Memory, out.CPU = &now.At, new(pressure.Round(now.Memory.Value)), new(pressure.Round(now.CPU.Value))
		out.MemoryStall, out.CPUStall = stallOf(now.Memory), stallOf(now.CPU)
	}
	alerts := []httpapi.ResourceAlert{}
	for _, a := range now.Alerts() {
		alerts = append(alerts, httpapi.ResourceAlert{
			Resource: string(a.Resource), Level: a.Level.String(), Value: pressure.Round(a.Value), Threshold: a.Threshold, Since: a.Since, Message: a.Sentence,
		})
	}
	return out, alerts
}

func stallOf(s pressure.State) *httpapi.Stall {
	if s.Stall == nil {
		return nil
	}
	return &httpapi.Stall{Some: s.Stall.Some, Full: s.Stall.Full}
}

// disks reports how full the disks are, with alerts.
func (r *Reporter) disks() (disks []httpapi.Disk, alerts []httpapi.ResourceAlert) {
	for _, d := range r.Disks.Snapshot() {
		out := httpapi.Disk{Disk: d.Name, Path: d.Path, Status: d.Level.String()}
		if !d.At.IsZero() {
			out.Used, out.Free, out.MeasuredAt = new(pressure.Round(d.Used)), new(d.Free), &d.At
		}
		disks = append(disks, out)
		if d.Level <= pressure.OK {
			continue
		}
		threshold := pressure.DiskWarning
		if d.Level == pressure.Critical {
			threshold = pressure.DiskCritical
		}
		alerts = append(alerts, httpapi.ResourceAlert{
			Resource: d.Name + "_disk", Level: d.Level.String(), Value: pressure.Round(d.Used), Threshold: threshold, Since: d.Since, Message: diskAlert(d),
		})
	}
	return disks, alerts
}

// diskAlert returns the alert of a disk, with a remedy.
func diskAlert(d pressure.DiskState) string {
	owner, remedy := "Berth's state", "free some space: stops, deletes and rotations are still recorded from a reserve"
	if d.Name == DiskEngine {
		owner, remedy = "the engine", "delete unused sessions or images, or make it larger"
	}
	return fmt.Sprintf("the disk of %s (%s) is %.0f %% full, %.1f GiB left; %s", owner, d.Path, d.Used*100, float64(d.Free)/(1<<30), remedy)
}

// WorkspaceSize returns the newest measurement of a session's volumes; nil if there is none.
func (r *Reporter) WorkspaceSize(id session.ID) *httpapi.WorkspaceSize {
	s, ok := r.Workspaces.Size(id)
	if !ok {
		return nil
	}
	level := map[workspace.Level]string{workspace.OK: "ok", workspace.Warning: "warning", workspace.Over: "limit"}[s.Level]
	return &httpapi.WorkspaceSize{Bytes: int64(s.Bytes), Partial: s.Partial, MeasuredAt: s.At, Level: level}
}

// workspaces returns the total size of all sessions' volumes; nil before the first measurement.
func (r *Reporter) workspaces() *httpapi.Workspaces {
	sum := r.Workspaces.Summary()
	if sum.At.IsZero() {
		return nil
	}
	return &httpapi.Workspaces{
		Measured: sum.Measured, Bytes: int64(sum.Bytes), Largest: int64(sum.Largest), Warned: sum.Warned, Over: sum.Over, MeasuredAt: sum.At,
	}
}
