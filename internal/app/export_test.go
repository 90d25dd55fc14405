package app

import "berth/internal/httpapi"

// SetSecurityCheck sets the result of the latest security check.
func (a *App) SetSecurityCheck(check *httpapi.SecurityCheck) { a.securityCheck.Store(check) }
