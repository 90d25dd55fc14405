package httpapi

import (
	"context"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"berth/internal/access"
	"berth/internal/session"
	"berth/internal/usage"
)

// Usage is the ledger; see [usage.Ledger].
type Usage interface {
	Sum(ctx context.Context, q usage.Query) (usage.Page, error)
	BudgetsOf(ctx context.Context, of ...usage.Holder) ([]usage.BudgetState, error)
	Currency() string
}

// UsageSum is what calls of models used.
type UsageSum struct {
	Calls int64 `json:"calls" doc:"that providers have answered"`
	usage.Tokens
	Estimated int64  `json:"estimated_tokens" doc:"part of the tokens whose number is an estimate: the provider's own was not seen"`
	Micros    int64  `json:"cost_micros" doc:"millionths of the currency"`
	Cost      string `json:"cost" doc:"the same in the currency" example:"1.25"`
}

// UsageRow is what one day, owner, session or model used.
type UsageRow struct {
	Name string `json:"name" doc:"a day, an owner (empty: sessions that nobody owns), a session's ID, or provider/model"`
	UsageSum
}

// UsageBudget is a limit, and what is used of it in its present period.
type UsageBudget struct {
	Of       string    `json:"of" enum:"owner,session"`
	Name     string    `json:"name" doc:"of the owner, or the session's ID"`
	Limit    string    `json:"limit" enum:"requests_per_minute,tokens_per_day,money_per_month"`
	Max      int64     `json:"max" doc:"of money: in millionths of the currency, as used and held are"`
	Used     int64     `json:"used"`
	Held     int64     `json:"held" doc:"by calls in progress"`
	RenewsAt time.Time `json:"renews_at"`
}

// UsageReport is the response to a question for usage.
type UsageReport struct {
	From     string        `json:"from" doc:"the first day" example:"2026-11-01"`
	To       string        `json:"to" doc:"the last day" example:"2026-11-30"`
	By       string        `json:"by" enum:"day,owner,session,model"`
	Currency string        `json:"currency" example:"USD"`
	Rows     []UsageRow    `json:"rows" doc:"in the order of their names"`
	Total    UsageSum      `json:"total" doc:"of all pages"`
	Budgets  []UsageBudget `json:"budgets"`
	Next     string        `json:"next,omitempty" doc:"after of the next page; absent on the last one"`
}

// UsageParams select usage. They are exported as [IDParam] is.
type UsageParams struct {
	From  string `query:"from" format:"date" doc:"first day in UTC, like 2026-11-01; absent: the first of this month, or of that of to"`
	To    string `query:"to" format:"date" doc:"last day; absent: today"`
	By    string `query:"by" enum:"day,owner,session,model" default:"day" doc:"what each row is about"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	After string `query:"after" maxLength:"1024" doc:"next of the previous page"`
}

type usageInput struct {
	UsageParams
	Owner   string     `query:"owner" maxLength:"255" doc:"only this owner's; may not be empty"`
	Session session.ID `query:"session" maxLength:"64" doc:"only this session's, which may be deleted; may not be empty"`
}

// Resolve implements [huma.Resolver].
func (usageInput) Resolve(ctx huma.Context) []error {
	known := []string{"owner", "session", "from", "to", "by", "limit", "after"}
	return strictQuery(ctx, known, known)
}

type sessionUsageInput struct {
	IDParam
	UsageParams
}

// Resolve implements [huma.Resolver].
func (sessionUsageInput) Resolve(ctx huma.Context) []error {
	known := []string{"from", "to", "by", "limit", "after"}
	return strictQuery(ctx, known, known)
}

type usageOutput struct{ Body UsageReport }

func (a *API) getUsage(ctx context.Context, in *usageInput) (*usageOutput, error) {
	owner, ok := access.PrincipalOf(ctx).OwnerFor(in.Owner)
	if !ok {
		owner = "" // of another owner than its own there is nothing
	}
	return a.usage(ctx, in.UsageParams, usage.Query{Owner: owner, Session: in.Session}, !ok)
}

func (a *API) getSessionUsage(ctx context.Context, in *sessionUsageInput) (*usageOutput, error) {
	if _, err := a.Sessions.Get(ctx, in.ID); err != nil {
		return nil, err
	}
	return a.usage(ctx, in.UsageParams, usage.Query{Session: in.ID}, false)
}

// usage answers a question; of nothing, the answer is empty.
func (a *API) usage(ctx context.Context, in UsageParams, q usage.Query, nothing bool) (*usageOutput, error) {
	if err := in.into(&q, a.Now()); err != nil {
		return nil, err
	}
	report := UsageReport{
		From: q.From.Format(time.DateOnly), To: q.To.Format(time.DateOnly), By: string(q.By), Currency: a.Usage.Currency(),
		Rows: []UsageRow{}, Budgets: []UsageBudget{}, Total: usageSum(usage.Use{}),
	}
	if nothing {
		return &usageOutput{report}, nil
	}
	page, err := a.Usage.Sum(ctx, q)
	if err != nil {
		return nil, err
	}
	report.Total = usageSum(page.Total)
	for _, row := range page.Rows {
		report.Rows = append(report.Rows, UsageRow{row.Name, usageSum(row.Use)})
	}
	if page.More {
		report.Next = cursorMark + page.Rows[len(page.Rows)-1].Name
	}
	budgets, err := a.Usage.BudgetsOf(ctx, budgetHolders(q, page)...)
	for _, b := range budgets {
		report.Budgets = append(report.Budgets, UsageBudget{
			Of: string(b.Holder.Kind), Name: b.Holder.Name, Limit: string(b.Kind), Max: b.Max, Used: b.Now.Used, Held: b.Now.Held, RenewsAt: b.RenewsAt,
		})
	}
	return &usageOutput{report}, err
}

// cursorMark begins a cursor: the name of an owner may be empty.
const cursorMark = "~"

// into adds the parameters to a query.
func (in UsageParams) into(q *usage.Query, now time.Time) (err error) {
	q.By, q.Limit, q.To = usage.Group(in.By), in.Limit, usage.TokensPerDay.Start(now)
	if in.To != "" {
		if q.To, err = time.Parse(time.DateOnly, in.To); err != nil {
			return session.Errorf(session.CodeInvalid, "to must be a day like 2026-11-30")
		}
	}
	q.From = usage.MoneyPerMonth.Start(q.To)
	if in.From != "" {
		if q.From, err = time.Parse(time.DateOnly, in.From); err != nil {
			return session.Errorf(session.CodeInvalid, "from must be a day like 2026-11-01")
		}
	}
	if q.From.After(q.To) || q.To.Sub(q.From) > usage.KeepDays*24*time.Hour {
		return session.Errorf(session.CodeInvalid, "from must be before to, by %d days at most", usage.KeepDays)
	}
	if in.After != "" {
		name, ours := strings.CutPrefix(in.After, cursorMark)
		if !ours {
			return session.Errorf(session.CodeInvalid, "after must be next of a previous page")
		}
		q.After = &name
	}
	return nil
}

// budgetHolders are those whose budgets a page shows.
func budgetHolders(q usage.Query, page usage.Page) []usage.Holder {
	seen := map[usage.Holder]bool{}
	var all []usage.Holder
	add := func(h usage.Holder) {
		if h.Name != "" && !seen[h] {
			seen[h] = true
			all = append(all, h)
		}
	}
	add(usage.Holder{Kind: usage.OwnerHolder, Name: q.Owner})
	if q.Owner == "" || page.Total != (usage.Use{}) { // or it may be another owner's session
		add(usage.Holder{Kind: usage.SessionHolder, Name: string(q.Session)})
	}
	for _, row := range page.Rows {
		switch q.By {
		case usage.ByOwner:
			add(usage.Holder{Kind: usage.OwnerHolder, Name: row.Name})
		case usage.BySession:
			add(usage.Holder{Kind: usage.SessionHolder, Name: row.Name})
		case usage.ByDay, usage.ByModel: // nobody's alone
		}
	}
	return all
}

func usageSum(u usage.Use) UsageSum {
	return UsageSum{Calls: u.Calls, Tokens: u.Tokens, Estimated: u.Estimated, Micros: u.Micros, Cost: usage.Money(u.Micros)}
}
