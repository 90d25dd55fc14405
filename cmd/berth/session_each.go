package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// sessionArgs is the common part of commands that do the same to each of several sessions; embed it.
type sessionArgs struct {
	remote
	IDs []string `arg:"" name:"session" help:"Session IDs."`
}

// forceFlag is the flag of commands that can preempt an operation in progress; embed it.
type forceFlag struct {
	Force bool `help:"Preempt an operation in progress."`
}

func (f forceFlag) query() string {
	if f.Force {
		return "?force=true"
	}
	return ""
}

// each makes a request for each session. It continues past failures and returns the first.
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
	return `Cancels a create, start or restart in progress, including the wait for an automatic restart. The session is stopped then; its
workspace is kept.

Examples:

    berth session cancel ses-gezdgnbvgy3tqojq`
}

// Run cancels the operation of each session.
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
	yesFlag
}

// Run deletes each session, after a confirmation.
func (c *sessionRmCmd) Run(ctx context.Context, std *stdio) error {
	if err := c.ask(std, fmt.Sprintf("this deletes the workspaces of %d session(s) permanently", len(c.IDs)),
		fmt.Sprintf("Delete %s and the workspace?", strings.Join(c.IDs, ", ")), "nothing was deleted"); err != nil {
		return err
	}
	return c.each(ctx, std, http.MethodDelete, "is deleted", c.query())
}

// yesFlag is the flag of commands that ask for confirmation; embed it.
type yesFlag struct {
	Yes bool `short:"y" help:"Do not ask for confirmation. Required without a terminal."`
}

// ask asks for confirmation unless the flag is given. The error is made of what without a terminal, and is nothing when the
// answer is not yes.
func (f yesFlag) ask(std *stdio, what, question, nothing string) error {
	switch {
	case f.Yes:
		return nil
	case !std.isTerminal():
		return usageError(fmt.Errorf("%s; confirm with --yes", what))
	case !std.confirm(question):
		return errors.New(nothing)
	}
	return nil
}
