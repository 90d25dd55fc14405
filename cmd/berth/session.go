package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"berth/internal/httpapi"
)

type sessionCmd struct {
	Create  sessionCreateCmd  `cmd:"" help:"Create a session and show its token, this one time."`
	List    sessionListCmd    `cmd:"" aliases:"ls" help:"List sessions."`
	Show    sessionShowCmd    `cmd:"" help:"Show one session."`
	Logs    sessionLogsCmd    `cmd:"" help:"Read what a session's server wrote."`
	Events  sessionEventsCmd  `cmd:"" help:"Show what happened to a session, on whose wish and why."`
	Start   sessionStartCmd   `cmd:"" help:"Start sessions; those that run are left alone."`
	Stop    sessionStopCmd    `cmd:"" help:"Stop sessions; their workspaces are kept."`
	Restart sessionRestartCmd `cmd:"" help:"Restart sessions."`
	Upgrade sessionUpgradeCmd `cmd:"" help:"Move sessions to another image, with a way back."`
	Cancel  sessionCancelCmd  `cmd:"" help:"End a create, start or restart in progress."`
	Auth    sessionAuthCmd    `cmd:"" help:"Show until when tokens are good: of one session, or of all whose token is."`
	Rotate  sessionRotateCmd  `cmd:"" help:"Give a session a new token; the old one is refused at once, or after a grace."`
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
	Owner          string            `help:"Whom the session belongs to: any text." placeholder:"TEXT"`
	Profile        string            `help:"Image profile. Default: the server's." placeholder:"NAME"`
	Image          string            `help:"Image. Default: the profile's." placeholder:"REFERENCE"`
	Metadata       map[string]string `help:"Your own labels, kept with the session." placeholder:"KEY=VALUE"`
	IdempotencyKey string            `help:"Repeat the command with the same key, and it leads to the same session." placeholder:"KEY"`
	NoWait         bool              `help:"Do not wait until the session runs."`
}

// Run creates a session.
func (c *sessionCreateCmd) Run(ctx context.Context, std *stdio) error {
	api, err := c.client(std)
	if err != nil {
		return err
	}
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
	err = api.call(ctx, http.MethodPost, "/sessions", header, map[string]any{
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

type sessionListCmd struct {
	remote
	format
	Owner  *string  `help:"Only this owner's." placeholder:"TEXT"`
	Status []string `enum:"creating,running,stopped,error" help:"Only these: ${enum}." placeholder:"STATUS"`
}

// Run lists all sessions, page by page.
func (c *sessionListCmd) Run(ctx context.Context, std *stdio) error {
	api, err := c.client(std)
	if err != nil {
		return err
	}
	query := url.Values{}
	if c.Owner != nil { // an empty one is not everyone: the server says so
		query.Set("owner", *c.Owner)
	}
	if len(c.Status) > 0 {
		query.Set("status", strings.Join(c.Status, ","))
	}
	all, err := pages[httpapi.Session](ctx, api, "/sessions", query)
	if err != nil {
		return err
	}
	rows := [][]string{{"SESSION", "STATUS", "OWNER", "IMAGE", "SIZE", "LAST ACCESSED", "ERROR"}}
	for _, s := range all {
		rows = append(rows, []string{
			string(s.ID), statusOf(s), s.Owner, s.Image, sizeOf(s.Workspace), localTime(&s.LastAccessed), s.LastError,
		})
	}
	return c.table(std, all, rows)
}

// statusOf is a session's status, for people, with what is being done about it.
func statusOf(s httpapi.Session) string {
	if s.Operation == nil {
		return string(s.Status)
	}
	return fmt.Sprintf("%s (%s in progress)", s.Status, s.Operation.Kind)
}

type sessionShowCmd struct {
	remote
	format
	ID string `arg:"" name:"session" help:"Session ID."`
}

// Run shows a session.
func (c *sessionShowCmd) Run(ctx context.Context, std *stdio) error {
	api, err := c.client(std)
	if err != nil {
		return err
	}
	var s httpapi.Session
	if err := api.call(ctx, http.MethodGet, sessionPath(c.ID), nil, nil, &s); err != nil {
		return err
	}
	return c.print(std, s, fieldsOf(s))
}

func fieldsOf(s httpapi.Session) [][2]string {
	fields := [][2]string{
		{"session", string(s.ID)},
		{"status", string(s.Status)},
		{"owner", s.Owner},
		{"profile", s.Profile},
		{"image", imageOf(s)},
		{"container", s.ContainerName},
		{"workspace", s.HostDir},
		{"created", localTime(&s.CreatedAt)},
		{"last accessed", localTime(&s.LastAccessed)},
	}
	if s.Workspace != nil {
		fields = append(fields, [2]string{"size", sizeOf(s.Workspace)})
	}
	if len(s.OutOfDate) > 0 {
		names := make([]string, len(s.OutOfDate))
		for i, part := range s.OutOfDate {
			names[i] = string(part)
		}
		fields = append(fields, [2]string{"out of date", strings.Join(names, ", ")})
	}
	if s.Upgrade != nil && s.Operation == nil {
		fields = append(fields, [2]string{"previous image", s.Upgrade.Previous + ", with the state of " + localTime(&s.Upgrade.At)})
	}
	if s.TokenExpiresAt != nil {
		fields = append(fields, [2]string{"token expires", localTime(s.TokenExpiresAt)})
	}
	if s.Operation != nil {
		fields = append(fields, [2]string{"in progress", string(s.Operation.Kind)})
	}
	if s.LastError != "" {
		fields = append(fields, [2]string{"error", s.LastError})
	}
	return fields
}

// sizeOf is what a session's volumes take, for people; "" when it is not known.
func sizeOf(w *httpapi.WorkspaceSize) string {
	if w == nil {
		return ""
	}
	text := fmt.Sprintf("%.1f MB", float64(w.Bytes)/1e6)
	if w.Bytes >= 1e9 {
		text = fmt.Sprintf("%.1f GB", float64(w.Bytes)/1e9)
	}
	if w.Partial {
		text = "over " + text
	}
	if w.Level != "ok" {
		text += " (" + w.Level + ")"
	}
	return text
}

type sessionLogsCmd struct {
	remote
	ID     string `arg:"" name:"session" help:"Session ID."`
	Follow bool   `short:"f" help:"Go on until the container stops."`
	Tail   int    `short:"n" help:"Only the last so many lines." placeholder:"LINES"`
	Raw    bool   `help:"Pass everything on as it is, to a terminal too. Default: only where the output is no terminal."`
}

// Help is shown by berth session logs --help.
func (sessionLogsCmd) Help() string {
	return `What a session's server writes is the text of whoever uses the session. On a terminal everything in it that would command the
terminal, or change the order in which it is read, is shown as an escape, such as \x1b; to a file or a pipe it goes as it is.

Examples:

    berth session logs ses-gezdgnbvgy3tqojq --follow
    berth session logs ses-gezdgnbvgy3tqojq > server.log`
}

// Run copies the logs as they come.
func (c *sessionLogsCmd) Run(ctx context.Context, std *stdio) error {
	api, err := c.client(std)
	if err != nil {
		return err
	}
	query := url.Values{"follow": {strconv.FormatBool(c.Follow)}, "tail": {strconv.Itoa(c.Tail)}}
	resp, err := api.send(ctx, http.MethodGet, sessionPath(c.ID, "logs")+"?"+query.Encode(), nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	out := std.shown()
	if c.Raw {
		out = std.Out
	}
	_, err = io.Copy(out, resp.Body)
	if rest, ok := out.(*harmless); ok && err == nil {
		err = rest.flush()
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("read the logs of %s: %w", c.ID, err)
	}
	return nil
}

// several is what the commands have in common that do the same thing to each of some sessions.
type several struct {
	remote
	IDs []string `arg:"" name:"session" help:"Session IDs."`
}

// forcible is the flag of commands that can take the place of what is in progress; embed it.
type forcible struct {
	Force bool `help:"Take the place of whatever is in progress, however long that would still take."`
}

func (f forcible) query() string {
	if f.Force {
		return "?force=true"
	}
	return ""
}

// each goes on past failures and returns the first.
func (c *several) each(ctx context.Context, std *stdio, method, did, query string, rest ...string) error {
	api, err := c.client(std)
	if err != nil {
		return err
	}
	var first error
	for _, id := range c.IDs {
		err := api.call(ctx, method, sessionPath(id, rest...)+query, nil, nil, nil)
		switch {
		case err == nil:
			fmt.Fprintf(std.Out, "%s %s\n", printable(id), did)
		case first == nil:
			first = err
		default:
			fmt.Fprintf(std.Err, "berth: %s\n", printable(fmt.Sprintf("%s: %v", id, err)))
		}
	}
	return first
}

type sessionStartCmd struct{ several }

// Run starts each session.
func (c *sessionStartCmd) Run(ctx context.Context, std *stdio) error {
	return c.each(ctx, std, http.MethodPost, "runs", "", "start")
}

type sessionStopCmd struct {
	several
	forcible
}

// Run stops each session.
func (c *sessionStopCmd) Run(ctx context.Context, std *stdio) error {
	return c.each(ctx, std, http.MethodPost, "is stopped", c.query(), "stop")
}

type sessionCancelCmd struct{ several }

// Help is shown by berth session cancel --help.
func (sessionCancelCmd) Help() string {
	return `Ends a create, start or restart in progress, the wait for an automatic restart included. The session is stopped then; its
workspace is kept.

Examples:

    berth session cancel ses-gezdgnbvgy3tqojq`
}

// Run cancels what is in progress on each session.
func (c *sessionCancelCmd) Run(ctx context.Context, std *stdio) error {
	return c.each(ctx, std, http.MethodPost, "is stopped", "", "cancel")
}

type sessionRestartCmd struct {
	several
	forcible
}

// Run restarts each session.
func (c *sessionRestartCmd) Run(ctx context.Context, std *stdio) error {
	return c.each(ctx, std, http.MethodPost, "runs", c.query(), "restart")
}

type sessionRmCmd struct {
	several
	forcible
	unasked
}

// Run deletes each session, after asking.
func (c *sessionRmCmd) Run(ctx context.Context, std *stdio) error {
	if err := c.ask(std, fmt.Sprintf("this deletes the workspaces of %d session(s) for good", len(c.IDs)),
		fmt.Sprintf("Delete %s with everything in the workspace?", strings.Join(c.IDs, ", ")), "nothing was deleted"); err != nil {
		return err
	}
	return c.each(ctx, std, http.MethodDelete, "is deleted", c.query())
}

// unasked is the flag of commands that ask before they take something away; embed it.
type unasked struct {
	Yes bool `short:"y" help:"Do not ask. Needed where there is no terminal to ask at."`
}

// ask asks unless the flag is given. What is done is told where nobody can be asked, and nothing when the answer is not yes.
func (u unasked) ask(std *stdio, what, question, nothing string) error {
	switch {
	case u.Yes:
		return nil
	case !std.isTerminal():
		return usageError(fmt.Errorf("%s; say --yes if you mean it", what))
	case !std.confirm(question):
		return errors.New(nothing)
	}
	return nil
}
