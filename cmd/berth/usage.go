package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"berth/internal/httpapi"
	"berth/internal/usage"
)

type usageCmd struct {
	remote
	format
	Owner   *string `help:"Only this owner's." placeholder:"TEXT"`
	Session *string `help:"Only this session's, which may be deleted." placeholder:"ID"`
	From    string  `help:"First day in UTC. Default: the first of the month of the last day." placeholder:"YYYY-MM-DD"`
	To      string  `help:"Last day. Default: today." placeholder:"YYYY-MM-DD"`
	By      string  `enum:"day,owner,session,model" default:"day" help:"What each row is about: ${enum}."`
}

// Help is shown by berth usage --help.
func (usageCmd) Help() string {
	return `Tokens are the providers' own counts; ESTIMATED is the part of them whose count was not seen. INPUT includes what providers had
in their cache, CACHED. Costs are by the prices in the settings. Budgets are shown of the owner and the session that are asked for, and
of those in the rows.

Examples:

    berth usage
    berth usage --by owner --from 2026-11-01 --to 2026-11-30
    berth usage --owner alice --by model --output json`
}

// Run prints what was used.
func (c *usageCmd) Run(ctx context.Context, std *stdio, api *client) error {
	report, err := c.fetch(ctx, api)
	if err != nil || c.Output == "json" {
		if err == nil {
			err = writeJSON(std.Out, report)
		}
		return err
	}
	cost := "COST"
	if report.Currency != "" {
		cost += " (" + report.Currency + ")"
	}
	rows := [][]string{{map[string]string{"day": "DAY", "owner": "OWNER", "session": "SESSION", "model": "MODEL"}[report.By], "CALLS", "INPUT", "CACHED", "OUTPUT", "ESTIMATED", cost}}
	for _, row := range report.Rows {
		rows = append(rows, usageCells(row.Name, row.UsageSum))
	}
	if err := writeTable(std.Out, append(rows, usageCells("total", report.Total))); err != nil || len(report.Budgets) == 0 {
		return err
	}
	fmt.Fprintln(std.Out)
	rows = [][]string{{"BUDGET OF", "LIMIT", "USED", "HELD", "MAXIMUM", "RENEWED"}}
	for _, b := range report.Budgets {
		number := func(n int64) string { return strconv.FormatInt(n, 10) }
		if b.Limit == string(usage.MoneyPerMonth) {
			number = usage.Money
		}
		rows = append(rows, []string{b.Of + " " + b.Name, b.Limit, number(b.Used), number(b.Held), number(b.Max), localTime(&b.RenewsAt)})
	}
	return writeTable(std.Out, rows)
}

func usageCells(name string, s httpapi.UsageSum) []string {
	cells := []string{name}
	for _, n := range []int64{s.Calls, s.Input, s.Cached, s.Output, s.Estimated} {
		cells = append(cells, strconv.FormatInt(n, 10))
	}
	return append(cells, s.Cost)
}

// fetch asks for all pages.
func (c *usageCmd) fetch(ctx context.Context, api *client) (all httpapi.UsageReport, err error) {
	query := url.Values{"by": {c.By}, "limit": {"1000"}}
	for name, value := range map[string]*string{"owner": c.Owner, "session": c.Session} {
		if value != nil { // the server rejects an empty one; it does not mean all
			query.Set(name, *value)
		}
	}
	for name, value := range map[string]string{"from": c.From, "to": c.To} {
		if value != "" {
			query.Set(name, value)
		}
	}
	seen := map[string]bool{}
	for {
		var page httpapi.UsageReport
		if err := api.call(ctx, http.MethodGet, "/usage?"+query.Encode(), nil, nil, &page); err != nil {
			return all, err
		}
		rows, budgets := append(all.Rows, page.Rows...), all.Budgets
		for _, b := range page.Budgets {
			if key := b.Of + " " + b.Name + " " + b.Limit; !seen[key] {
				seen[key] = true
				budgets = append(budgets, b)
			}
		}
		all = page
		all.Rows, all.Budgets, all.Next = rows, budgets, ""
		if all.Budgets == nil {
			all.Budgets = []httpapi.UsageBudget{}
		}
		if page.Next == "" {
			return all, nil
		}
		query.Set("after", page.Next)
	}
}
