package app

import "berth/internal/httpapi"

// SetAudit puts the result of a security check in place, as if it had just been made.
func (a *App) SetAudit(audit *httpapi.Audit) { a.audit.Store(audit) }
