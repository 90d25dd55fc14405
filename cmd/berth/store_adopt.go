package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"berth/internal/app"
	"berth/internal/config"
	"berth/internal/session"
	"berth/internal/storage"
)

type storeAdoptCmd struct {
	format
	configFlags
	IDs      []string `arg:"" optional:"" name:"session" help:"Sessions to recover; none: all that are found."`
	Instance string   `placeholder:"NAME" help:"Installation that the containers belong to; default: this one, or the only one on the engine."`
	TakeOver bool     `help:"Take the containers over from another Berth that manages them, even if it is running."`
	Discard  bool     `help:"Recover nothing: containers without a session are removed after ORPHAN_GRACE, their volumes are kept."`
	DryRun   bool     `help:"Show the result and change nothing."`
}

// Help is shown by berth store adopt --help.
func (storeAdoptCmd) Help() string {
	return `Recovers sessions that have containers or volumes on the engine and no record in the store: after the loss of sessions.json, of
the database, or of the whole state directory. Stop Berth first, and start it afterwards.

The engine has no record of owner, metadata and token: owner and metadata are empty, and "berth session rotate" issues a
token. If the token secret was lost too, the containers cannot be reached any more: they are removed and their sessions are
recorded as stopped; the next start creates new containers on the same volumes.

The name of the installation is read from the state directory or the store, or, if it was lost, from the engine.

Examples:

    berth store adopt --dry-run
    berth store adopt
    berth store adopt --instance ses-gezdgnbvgy3tqojq --take-over`
}

// Run adopts.
func (c *storeAdoptCmd) Run(ctx context.Context, std *stdio, cfg config.Config) error {
	if c.Discard && len(c.IDs) > 0 {
		return usageError(errors.New("--discard applies to all containers without a session: give no session"))
	}
	opts := storage.AdoptOptions{Installation: c.Instance, TakeOver: c.TakeOver, Discard: c.Discard, DryRun: c.DryRun}
	for _, text := range c.IDs {
		id, err := session.ParseID(text)
		if err != nil {
			return err
		}
		opts.Sessions = append(opts.Sessions, id)
	}
	report, err := app.Adopt(ctx, cfg, opts, storeLog(std))
	if err != nil && len(report.Sessions) == 0 {
		return err
	}
	return cmp.Or(err, c.show(std, report))
}

func (c *storeAdoptCmd) show(std *stdio, report storage.AdoptReport) error {
	rows := [][]string{{"SESSION", "STATUS", "PROFILE", "IMAGE", "NOTE"}}
	for _, s := range report.Sessions {
		rows = append(rows, []string{string(s.ID), string(s.Status), s.Profile, s.Image, s.Note})
	}
	if c.Output == "json" {
		return writeJSON(std.Out, report)
	}
	if len(report.Sessions) > 0 {
		if err := writeTable(std.Out, rows); err != nil {
			return err
		}
	}
	fmt.Fprintf(std.Err, "berth: installation %s: %d sessions recovered or with replaced containers, %d known\n",
		printable(report.Installation), len(report.Sessions), report.Known)
	if len(report.Others) > 0 {
		fmt.Fprintln(std.Err, "berth: the engine has sessions of other installations:")
		for _, name := range slices.Sorted(maps.Keys(report.Others)) {
			fmt.Fprintf(std.Err, "berth:   %s: %d sessions\n", printable(name), report.Others[name])
		}
		fmt.Fprintln(std.Err, "hint: if one of them was this one, recover its sessions with berth store adopt --instance NAME")
	}
	if report.NewSecret {
		fmt.Fprintln(std.Err, "berth: the token secret was lost: a new one was created, and all earlier tokens are invalid")
	}
	if len(report.Sessions) > 0 && !c.DryRun {
		fmt.Fprintln(std.Err, "hint: owners and metadata are not known; start Berth, and issue tokens with berth session rotate")
	}
	return nil
}
