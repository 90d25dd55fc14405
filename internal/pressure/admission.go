package pressure

import (
	"context"

	"berth/internal/session"
)

// CriticalError is the cause of a refusal.
type CriticalError struct{ Resource Resource }

// Error names the resource.
func (e *CriticalError) Error() string { return "the host's " + string(e.Resource) + " is critical" }

// remedies are what an operator can do.
var remedies = map[Resource]string{
	Memory: "stop sessions, or give the host more memory",
	CPU:    "see what keeps the host busy, or stop sessions",
}

// Admit returns a CodePressure error, with a [CriticalError] as its cause, while a resource is critical. What is not
// known refuses nothing. It implements lifecycle.Admission.
func (m *Monitor) Admit(context.Context) error {
	for _, alert := range m.Snapshot().Alerts() {
		if alert.Level == Critical {
			return session.Errorf(session.CodePressure, "%s; no session is started meanwhile: try again later, %s", alert.Sentence,
				remedies[alert.Resource]).Because(&CriticalError{alert.Resource}).After(m.opts.Hold)
		}
	}
	return nil
}
