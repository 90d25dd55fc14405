package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"berth/internal/httpapi"
	"berth/internal/session"
)

type sessionUpgradeCmd struct {
	remote
	IDs   []string `arg:"" optional:"" name:"session" help:"Session IDs."`
	Image string   `help:"Image to pin the sessions to. Default: their profile's, which they follow from then on." placeholder:"REFERENCE"`
	All   bool     `help:"All sessions, one after the other, up to the first failure. Sessions with a pinned image are skipped, unless --image is given."`
	Back  bool     `help:"Roll back the latest upgrade."`
	yesFlag
}

// Help is shown by berth session upgrade --help.
func (sessionUpgradeCmd) Help() string {
	return `Interrupts running sessions. The state volume is copied first; when the session does not become ready on the new image, Berth
restores the previous image and the copy. The copy is kept until the next upgrade, so that --back can restore it later: changes
of the state since the upgrade are lost then. The workspace is never changed.

Limits, environment and the rest of the profile are updated as well, as by each stop and start.

Examples:

    berth session upgrade ses-gezdgnbvgy3tqojq
    berth session upgrade ses-gezdgnbvgy3tqojq --image berth/opencode:1.19.0
    berth session upgrade --all --yes
    berth session upgrade --back ses-gezdgnbvgy3tqojq`
}

// Run upgrades the sessions one after the other. It stops at the first failure: a broken image breaks all of them.
func (c *sessionUpgradeCmd) Run(ctx context.Context, std *stdio) error {
	if err := c.check(); err != nil {
		return usageError(err)
	}
	if !c.All {
		if err := c.confirm(std, c.IDs); err != nil {
			return err
		}
	}
	api, err := c.ProvideClient(std)
	if err != nil {
		return err
	}
	ids := c.IDs
	if c.All {
		if ids, err = c.choose(ctx, std, api); err != nil {
			return err
		}
		if len(ids) == 0 {
			fmt.Fprintln(std.Out, "there is nothing to upgrade")
			return nil
		}
		if err := c.confirm(std, ids); err != nil {
			return err
		}
	}
	for i, id := range ids {
		s, done, err := c.upgrade(ctx, api, id)
		if err != nil && len(ids) > 1 {
			return withHint(fmt.Errorf("%s: %w", id, err), "%d of %d sessions done, the others are unchanged; fix this one and repeat the command", i, len(ids))
		}
		if err != nil {
			return err
		}
		if !done {
			fmt.Fprintf(std.Out, "%s is up to date on %s\n", id, s.Image)
			continue
		}
		fmt.Fprintf(std.Out, "%s is %s on %s\n", id, s.Status, s.Image)
	}
	return nil
}

// upgrade upgrades one session, and reports whether it was changed, which shows in the time of its upgrade.
func (c *sessionUpgradeCmd) upgrade(ctx context.Context, api *client, id string) (s httpapi.Session, done bool, err error) {
	var before httpapi.Session
	if err := api.call(ctx, http.MethodGet, sessionPath(id), nil, nil, &before); err != nil {
		return s, false, err
	}
	err = api.call(ctx, http.MethodPost, sessionPath(id, "upgrade"), nil, map[string]any{"image": c.Image, "back": c.Back}, &s)
	unchanged := !c.Back && (s.Upgrade == nil || before.Upgrade != nil && s.Upgrade.At.Equal(before.Upgrade.At))
	return s, !unchanged, err
}

func (c *sessionUpgradeCmd) check() error {
	switch {
	case c.All && len(c.IDs) > 0:
		return errors.New("give session IDs or --all, not both")
	case !c.All && len(c.IDs) == 0:
		return errors.New("give session IDs, or --all")
	case c.Back && c.Image != "":
		return errors.New("--back restores the previous image; leave out --image")
	case c.Back && c.All:
		return errors.New("--back takes session IDs, not --all: sessions lose the changes of their state since the upgrade")
	}
	return nil
}

// choose lists the sessions that --all selects.
func (c *sessionUpgradeCmd) choose(ctx context.Context, std *stdio, api *client) ([]string, error) {
	all, err := pages[httpapi.Session](ctx, api, "/sessions", url.Values{})
	var ids []string
	for _, s := range all {
		switch {
		case s.Status == session.Creating:
		case s.ImageSource == string(session.ImageChosen) && c.Image == "":
			fmt.Fprintf(std.Err, "berth: %s is skipped: its image is pinned to %s\n", s.ID, s.Image)
		default:
			ids = append(ids, string(s.ID))
		}
	}
	return ids, err
}

// confirm asks whether sessions may be interrupted.
func (c *sessionUpgradeCmd) confirm(std *stdio, ids []string) error {
	what := fmt.Sprintf("this interrupts %d session(s)", len(ids))
	if c.Back {
		what += " and drops the changes of their state since their upgrade"
	}
	return c.ask(std, what, strings.ToUpper(what[:1])+what[1:]+". Continue?", "nothing was upgraded")
}

// imageOf is a session's image as text, with a note when it does not follow its profile.
func imageOf(s httpapi.Session) string {
	if s.ImageSource == string(session.ImageFromProfile) {
		return s.Image
	}
	return s.Image + " (kept until it is upgraded)"
}
