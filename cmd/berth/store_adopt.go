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
	IDs      []string `arg:"" optional:"" name:"session" help:"Sessions to bring back; none: all that are found."`
	Instance string   `placeholder:"NAME" help:"Installation whose containers they are; default: this one, or the only one on the engine."`
	TakeOver bool     `help:"Take the containers from another Berth that manages them, also one that is running."`
	Discard  bool     `help:"Bring nothing back: containers without a session are removed after ORPHAN_GRACE, their volumes stay."`
	DryRun   bool     `help:"Say what would happen and change nothing."`
}

// Help is shown by berth store adopt --help.
func (storeAdoptCmd) Help() string {
	return `Brings back the sessions whose containers or volumes are on the engine and which the store does not know: after the loss of
sessions.json, of the database, or of the whole state directory. Stop Berth first, and start it afterwards.

A container does not tell its owner, metadata and token: owner and metadata are empty, and "berth session rotate" issues a
token. Where the token secret was lost too, containers cannot be reached any more: they are removed and their sessions
recorded as stopped; the next start makes new ones on the same volumes.

The name of the installation is that of the state directory or the store. Where it was lost, it is found on the engine.

Examples:

    berth store adopt --dry-run
    berth store adopt
    berth store adopt --instance ses-gezdgnbvgy3tqojq --take-over`
}

// Run adopts.
func (c *storeAdoptCmd) Run(ctx context.Context, std *stdio, cfg config.Config) error {
	if c.Discard && len(c.IDs) > 0 {
		return usageError(errors.New("--discard is about all containers without a session: name none"))
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
	fmt.Fprintf(std.Err, "berth: installation %s: %d sessions found that the store did not have or whose containers are replaced, %d known\n",
		printable(report.Installation), len(report.Sessions), report.Known)
	if len(report.Others) > 0 {
		fmt.Fprintln(std.Err, "berth: the engine has sessions of other installations:")
		for _, name := range slices.Sorted(maps.Keys(report.Others)) {
			fmt.Fprintf(std.Err, "berth:   %s: %d sessions\n", printable(name), report.Others[name])
		}
		fmt.Fprintln(std.Err, "hint: if one of them was this one, bring its sessions back with berth store adopt --instance NAME")
	}
	if report.NewSecret {
		fmt.Fprintln(std.Err, "berth: the token secret was lost: there is a new one, and every token that was issued before is void")
	}
	if len(report.Sessions) > 0 && !c.DryRun {
		fmt.Fprintln(std.Err, "hint: owners and metadata are not known; start Berth, and issue tokens with berth session rotate")
	}
	return nil
}
