package main

import (
	"net/url"
	"strings"
)

type sessionCmd struct {
	Create  sessionCreateCmd  `cmd:"" help:"Create a session and show its token once."`
	List    sessionListCmd    `cmd:"" aliases:"ls" help:"List sessions."`
	Show    sessionShowCmd    `cmd:"" help:"Show one session."`
	Open    sessionOpenCmd    `cmd:"" help:"Make a link with which a browser signs in to a session."`
	SignIns sessionSignInsCmd `cmd:"" name:"sign-ins" help:"List the browsers and devices that are signed in to a session, or sign one out."`
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
  berth session open ses-gezdgnbvgy3tqojq --browser
  berth session list --status running
  berth session logs ses-gezdgnbvgy3tqojq --follow
  berth session events ses-gezdgnbvgy3tqojq
  berth session upgrade ses-gezdgnbvgy3tqojq
  berth session rm ses-gezdgnbvgy3tqojq --yes`
}

func sessionPath(id string, rest ...string) string {
	return "/sessions/" + url.PathEscape(id) + strings.Join(append([]string{""}, rest...), "/")
}
