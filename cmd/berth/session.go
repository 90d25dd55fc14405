package main

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"berth/internal/httpapi"
)

type sessionCmd struct {
	Create  sessionCreateCmd  `cmd:"" help:"Create a session and show its token once."`
	List    sessionListCmd    `cmd:"" aliases:"ls" help:"List sessions."`
	Show    sessionShowCmd    `cmd:"" help:"Show one session."`
	Logs    sessionLogsCmd    `cmd:"" help:"Show the log of a session's server."`
	Events  sessionEventsCmd  `cmd:"" help:"Show the events of a session, with actor and reason."`
	Start   sessionStartCmd   `cmd:"" help:"Start sessions; running ones are not changed."`
	Stop    sessionStopCmd    `cmd:"" help:"Stop sessions; their workspaces are kept."`
	Restart sessionRestartCmd `cmd:"" help:"Restart sessions."`
	Upgrade sessionUpgradeCmd `cmd:"" help:"Upgrade sessions to another image, or roll back."`
	Cancel  sessionCancelCmd  `cmd:"" help:"Cancel a create, start or restart in progress."`
	Auth    sessionAuthCmd    `cmd:"" help:"Show the expiry of tokens: of one session, or of all with a valid token."`
	Rotate  sessionRotateCmd  `cmd:"" help:"Issue a new token; the old one is invalid at once, or after a grace period."`
	Rm      sessionRmCmd      `cmd:"" aliases:"delete" help:"Delete sessions with their workspaces."`
}

// Help is shown by berth session --help.
func (sessionCmd) Help() string {
	return `Examples:
  berth session create --owner alice
  berth session create --output json --idempotency-key order-4711
  berth session list --status running
  berth session logs ses-gezdgnbvgy3tqojq --follow
  berth session events ses-gezdgnbvgy3tqojq
  berth session upgrade ses-gezdgnbvgy3tqojq
  berth session rm ses-gezdgnbvgy3tqojq --yes`
}

func sessionPath(id string, rest ...string) string {
	return "/sessions/" + url.PathEscape(id) + strings.Join(append([]string{""}, rest...), "/")
}

type sessionCreateCmd struct {
	remote
	format
	Owner          string            `help:"Owner of the session: any text." placeholder:"TEXT"`
	Profile        string            `help:"Image profile. Default: the server's." placeholder:"NAME"`
	Image          string            `help:"Image. Default: the profile's." placeholder:"REFERENCE"`
	Metadata       map[string]string `help:"Your own labels, kept with the session." placeholder:"KEY=VALUE"`
	IdempotencyKey string            `help:"Repeating the command with the same key returns the same session." placeholder:"KEY"`
	NoWait         bool              `help:"Do not wait until the session is running."`
}

// Run creates a session.
func (c *sessionCreateCmd) Run(ctx context.Context, std *stdio, api *client) error {
	header := http.Header{}
	if c.NoWait {
		header.Set("Prefer", "respond-async")
	} else {
		std.progress("creating a session; its server takes some seconds to start")
	}
	if c.IdempotencyKey != "" {
		header.Set("Idempotency-Key", c.IdempotencyKey)
	}
	var made httpapi.NewSession
	err := api.call(ctx, http.MethodPost, "/sessions", header, map[string]any{
		"owner": c.Owner, "profile": c.Profile, "image": c.Image, "metadata": c.Metadata,
	}, &made)
	if err != nil {
		return err
	}
	return c.print(std, made, [][2]string{
		{"session", string(made.ID)},
		{"status", string(made.Status)},
		{"address", strings.TrimSuffix(api.base.String(), "/") + made.Path},
		{"token", made.Token},
	})
}
