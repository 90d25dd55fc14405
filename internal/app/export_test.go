package app

import "berth/internal/httpapi"

// SetSecurityCheck puts the result of a security check in place, as if it had just been made.
func (a *App) SetSecurityCheck(check *httpapi.SecurityCheck) { a.securityCheck.Store(check) }
