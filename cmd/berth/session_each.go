package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// sessionArgs is what the commands have in common that do the same thing to each of some sessions.
type sessionArgs struct {
	remote
	IDs []string `arg:"" name:"session" help:"Session IDs."`
}

// forceFlag is the flag of commands that can take the place of what is in progress; embed it.
type forceFlag struct {
	Force bool `help:"Take the place of whatever is in progress, however long that would still take."`
}

func (f forceFlag) query() string {
	if f.Force {
		return "?force=true"
	}
	return ""
}

// each goes on past failures and returns the first.
func (c *sessionArgs) each(ctx context.Context, std *stdio, method, did, query string, rest ...string) error {
	api, err := c.ProvideClient(std)
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

type sessionStartCmd struct{ sessionArgs }

// Run starts each session.
func (c *sessionStartCmd) Run(ctx context.Context, std *stdio) error {
	return c.each(ctx, std, http.MethodPost, "runs", "", "start")
}

type sessionStopCmd struct {
	sessionArgs
	forceFlag
}

// Run stops each session.
func (c *sessionStopCmd) Run(ctx context.Context, std *stdio) error {
	return c.each(ctx, std, http.MethodPost, "is stopped", c.query(), "stop")
}

type sessionCancelCmd struct{ sessionArgs }

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
	sessionArgs
	forceFlag
}

// Run restarts each session.
func (c *sessionRestartCmd) Run(ctx context.Context, std *stdio) error {
	return c.each(ctx, std, http.MethodPost, "runs", c.query(), "restart")
}

type sessionRmCmd struct {
	sessionArgs
	forceFlag
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
