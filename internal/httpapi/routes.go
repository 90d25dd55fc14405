package httpapi

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"berth/internal/access"
	"berth/internal/session"
)

// routes lists every route of the API.
func (a *API) routes() {
	a.plainly("/livez", a.livez)
	a.plainly("/readyz", a.readyz)
	a.plainly("/openapi.json", a.serveOpenAPI)
	if a.SignIn != nil {
		a.plainly(LoginPath, a.beginSignIn)
		a.plainly(OpenPath, a.openSession)
		a.plainly(CallbackPath, a.finishSignIn)
		a.plainly(SignOutPath, a.showSignOut)
		a.by(http.MethodPost, SignOutPath, a.signOut)
	}
	register(a, access.Status, huma.Operation{
		Method: http.MethodGet, Path: "/health", OperationID: "get-health",
		Summary: "Show Berth's health", Description: "Everyone sees the status; the operator sees the details.",
	}, a.health)
	register(a, access.Status, huma.Operation{
		Method: http.MethodGet, Path: "/health/container", OperationID: "get-container-health",
		Summary:     "Show the health of the sessions' servers",
		Description: "Everyone sees the status; the operator sees those that this process monitors, each as `session_<id>`.",
	}, a.containerHealth)
	register(a, access.Read, huma.Operation{
		Method: http.MethodGet, Path: "/health/container/{id}", OperationID: "get-session-health", Summary: "Show the health of a session's server",
	}, a.sessionHealth)
	register(a, access.Instances, huma.Operation{
		Method: http.MethodGet, Path: "/instances", OperationID: "list-instances",
		Summary: "List the processes that serve the same sessions",
	}, a.listInstances)
	if a.Metrics != nil {
		register(a, access.Metrics, huma.Operation{
			Method: http.MethodGet, Path: "/metrics", OperationID: "get-metrics",
			Summary: "Measurements for Prometheus", Responses: plainText(),
		}, a.metrics)
	}

	register(a, access.Create, huma.Operation{
		Method: http.MethodPost, Path: "/sessions", OperationID: "create-session", DefaultStatus: http.StatusCreated,
		Summary: "Create a session", Description: "Waits until the session's server can be used. With `Prefer: respond-async` " +
			"the answer is 202 at once. The token in the answer is shown this one time.",
	}, a.createSession)
	register(a, access.List, huma.Operation{
		Method: http.MethodGet, Path: "/sessions", OperationID: "list-sessions", Summary: "List sessions, oldest first",
	}, a.listSessions)
	register(a, access.Read, huma.Operation{
		Method: http.MethodGet, Path: "/sessions/{id}", OperationID: "get-session", Summary: "Show a session",
	}, a.getSession)
	register(a, access.Delete, huma.Operation{
		Method: http.MethodDelete, Path: "/sessions/{id}", OperationID: "delete-session", DefaultStatus: http.StatusNoContent,
		Summary: "Delete a session", Description: "Removes the container, the workspace and the record.",
	}, a.deleteSession)
	register(a, access.Write, huma.Operation{
		Method: http.MethodPost, Path: "/sessions/{id}/start", OperationID: "start-session",
		Summary: "Start a session", Description: "Does nothing to a session that runs.",
	}, a.act(a.Sessions.Start, ""))
	register(a, access.Write, huma.Operation{
		Method: http.MethodPost, Path: "/sessions/{id}/stop", OperationID: "stop-session",
		Summary: "Stop a session", Description: "Ends the container; workspace and history are kept.",
	}, a.act(a.Sessions.Stop, session.OpStop))
	register(a, access.Write, huma.Operation{
		Method: http.MethodPost, Path: "/sessions/{id}/restart", OperationID: "restart-session", Summary: "Restart a session",
	}, a.act(a.Sessions.Restart, session.OpRestart))
	register(a, access.Write, huma.Operation{
		Method: http.MethodPost, Path: "/sessions/{id}/upgrade", OperationID: "upgrade-session",
		Summary: "Move a session to another image, or back",
		Description: "Copies the state first, which interrupts a session that runs. When the session does not become ready on the new " +
			"image, it goes back to the previous one and the state of that copy, and the answer is a problem `upgrade_failed`. " +
			"Does nothing to a session that is up to date.",
	}, a.upgradeSession)
	register(a, access.Write, huma.Operation{
		Method: http.MethodPost, Path: "/sessions/{id}/cancel", OperationID: "cancel-session-operation",
		Summary: "End a create, start or restart in progress", Description: "The session is stopped then; workspace and history are kept.",
	}, a.act(a.Sessions.Cancel, ""))
	register(a, access.Logs, huma.Operation{
		Method: http.MethodGet, Path: "/sessions/{id}/logs", OperationID: "get-session-logs",
		Summary: "Read what a session's server wrote", Description: "Plain text; with `follow=true` it continues until the container stops.",
		Responses: plainText(),
	}, a.sessionLogs)
	register(a, access.Read, huma.Operation{
		Method: http.MethodGet, Path: "/sessions/{id}/events", OperationID: "get-session-events",
		Summary: "What happened to the session", Description: "The latest 25 events, the oldest first. With `Accept: text/event-stream` " +
			"they are followed by new ones as they happen.",
	}, a.sessionEvents)
	register(a, access.Read, huma.Operation{
		Method: http.MethodGet, Path: "/sessions/{id}/auth", OperationID: "get-session-auth",
		Summary: "Show until when the session's token is valid",
	}, a.sessionAuth)
	register(a, access.Rotate, huma.Operation{
		Method: http.MethodPost, Path: "/sessions/{id}/auth/rotate", OperationID: "rotate-session-token",
		Summary: "Give the session a new token", Description: "The previous token is refused at once and its open streams are closed; with " +
			"`grace`, at the end of that time. Earlier tokens are refused at once in either case.",
	}, a.rotateToken)
	register(a, access.SignIns, huma.Operation{
		Method: http.MethodPost, Path: "/sessions/{id}/links", OperationID: "create-session-link", DefaultStatus: http.StatusCreated,
		Summary: "Make a link with which one browser signs in to the session",
		Description: "The link works once, within a minute. It is the same at each address of the session. With `qr=true` the answer has " +
			"a picture of it for a phone's camera.",
	}, a.createLink)
	register(a, access.SignIns, huma.Operation{
		Method: http.MethodGet, Path: "/sessions/{id}/sign-ins", OperationID: "list-session-sign-ins",
		Summary: "List the browsers that are signed in to the session, and its devices",
	}, a.listSignIns)
	register(a, access.SignIns, huma.Operation{
		Method: http.MethodDelete, Path: "/sessions/{id}/sign-ins/{sign_in}", OperationID: "end-session-sign-in", DefaultStatus: http.StatusNoContent,
		Summary: "Sign a browser or a device out of the session", Description: "Its streams end with it.",
	}, a.endSignIn)
	register(a, access.List, huma.Operation{
		Method: http.MethodGet, Path: "/auth/sessions", OperationID: "list-authenticated-sessions",
		Summary: "List the sessions whose token is valid now, oldest first",
	}, a.authSessions)

	if a.Usage != nil {
		register(a, access.List, huma.Operation{
			Method: http.MethodGet, Path: "/usage", OperationID: "get-usage",
			Summary: "Show what sessions used of models",
			Description: "Sums by day, owner, session or model, those of deleted sessions included. Budgets are shown of the owner and the session " +
				"that are asked for, and of those in the rows.",
		}, a.getUsage)
		register(a, access.Read, huma.Operation{
			Method: http.MethodGet, Path: "/sessions/{id}/usage", OperationID: "get-session-usage",
			Summary: "Show what the session used of models",
		}, a.getSessionUsage)
	}
	register(a, access.PlatformTokens, huma.Operation{
		Method: http.MethodPost, Path: "/tokens", OperationID: "create-platform-token", DefaultStatus: http.StatusCreated,
		Summary:     "Create a token for a program",
		Description: "It is accepted where the admin token is, for what its scopes say. The secret in the answer is shown this one time.",
	}, a.createPlatformToken)
	register(a, access.PlatformTokens, huma.Operation{
		Method: http.MethodGet, Path: "/tokens", OperationID: "list-platform-tokens", Summary: "List the tokens for programs, oldest first",
	}, a.listPlatformTokens)
	register(a, access.PlatformTokens, huma.Operation{
		Method: http.MethodDelete, Path: "/tokens/{token_id}", OperationID: "revoke-platform-token", DefaultStatus: http.StatusNoContent,
		Summary: "Revoke a token for a program", Description: "It is refused at once, and its open streams are closed.",
	}, a.revokePlatformToken)
}

// plainly adds a public GET route that does not use the framework.
func (a *API) plainly(path string, handle http.HandlerFunc) { a.by(http.MethodGet, path, handle) }

func (a *API) by(method, path string, handle http.HandlerFunc) {
	a.all = append(a.all, Route{method, path, access.Status})
	a.mux.HandleFunc(method+" "+path, handle)
}
