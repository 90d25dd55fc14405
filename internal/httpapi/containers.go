package httpapi

import (
	"context"
	"time"

	"berth/internal/lifecycle"
	"berth/internal/session"
)

// ContainerHealth is the health of the sessions' servers, under the source document's names: monitoring_active,
// check_interval (seconds), total_sessions_monitored, sessions_with_failures, and a session_<id> for each, which is a
// [SessionChecks].
type ContainerHealth map[string]any

// SessionChecks are the health checks of one session's server.
type SessionChecks struct {
	State           lifecycle.HealthState `json:"state" enum:"HEALTHY,UNHEALTHY,RESTARTING,FAILED,UNKNOWN"`
	Since           *time.Time            `json:"since,omitempty"`
	Reason          string                `json:"reason,omitempty"`
	TotalChecks     int64                 `json:"total_checks" doc:"since this process monitors it"`
	HealthyChecks   int64                 `json:"healthy_checks"`
	FailedChecks    int64                 `json:"failed_checks"`
	AverageResponse float64               `json:"average_response_time" doc:"milliseconds"`
	Failures        int                   `json:"consecutive_failures"`
	Restarts        int                   `json:"restart_count" doc:"automatic restarts since the last healthy period"`
}

// HealthCheck is one health check.
type HealthCheck struct {
	At           time.Time             `json:"at"`
	State        lifecycle.HealthState `json:"state"`
	ResponseTime float64               `json:"response_time,omitempty" doc:"milliseconds"`
	Reason       string                `json:"reason,omitempty"`
}

func checksOf(h lifecycle.Health) SessionChecks {
	return SessionChecks{
		State: h.State, Since: timeOf(h.Since), Reason: h.Reason, TotalChecks: h.TotalChecks, HealthyChecks: h.HealthyChecks,
		FailedChecks: h.FailedChecks, AverageResponse: milliseconds(h.AverageResponse), Failures: h.Failures, Restarts: h.Restarts,
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// containers returns the health of every session that this process monitors.
func (a *API) containers() ContainerHealth {
	all := a.Sessions.Healths()
	out := ContainerHealth{
		"monitoring_active": a.CheckEvery > 0, "check_interval": a.CheckEvery.Seconds(), "total_sessions_monitored": len(all),
	}
	failing := 0
	for _, h := range all {
		if isFailing(h) {
			failing++
		}
		out["session_"+string(h.ID)] = checksOf(h)
	}
	out["sessions_with_failures"] = failing
	return out
}

func isFailing(h lifecycle.Health) bool {
	return h.State == lifecycle.Unhealthy || h.State == lifecycle.Restarting || h.State == lifecycle.Failed
}

type containerHealthOutput struct{ Body ContainerHealth }

func (a *API) containerHealth(ctx context.Context, _ *struct{}) (*containerHealthOutput, error) {
	status := "healthy"
	for _, h := range a.Sessions.Healths() {
		if isFailing(h) {
			status = "degraded"
			break
		}
	}
	out := &containerHealthOutput{Body: ContainerHealth{}}
	if maySeeDetails(ctx) {
		out.Body = a.containers()
	}
	out.Body["status"] = status
	return out, nil
}

type sessionHealthOutput struct {
	Body struct {
		ID session.ID `json:"session_id"`
		SessionChecks
		Status  session.Status `json:"status" enum:"creating,running,stopped,error"`
		History []HealthCheck  `json:"history" doc:"the latest checks, the oldest first"`
	}
}

// sessionHealth responds with the health of one session. One that this process does not monitor, such as a stopped one, is
// UNKNOWN.
func (a *API) sessionHealth(ctx context.Context, in *IDParam) (*sessionHealthOutput, error) {
	s, err := a.Sessions.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	h, ok := a.Sessions.Health(in.ID)
	if !ok {
		h = lifecycle.Health{ID: in.ID, State: lifecycle.Unknown, Restarts: s.RestartCount}
	}
	out := &sessionHealthOutput{}
	out.Body.ID, out.Body.Status, out.Body.SessionChecks, out.Body.History = in.ID, s.Status, checksOf(h), []HealthCheck{}
	for _, c := range h.History {
		out.Body.History = append(out.Body.History, HealthCheck{c.At, c.State, milliseconds(c.Latency), c.Reason})
	}
	return out, nil
}
