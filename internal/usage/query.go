package usage

import (
	"cmp"
	"slices"
	"time"

	"berth/internal/session"
)

// Group is what a row of a [Page] is about.
type Group string

// Every group.
const (
	ByDay     Group = "day"     // 2006-01-02
	ByOwner   Group = "owner"   // empty: sessions that nobody owns
	BySession Group = "session" // ID
	ByModel   Group = "model"   // provider/model
)

// Query selects what was used. Zero fields select everything.
type Query struct {
	Owner    string
	Session  session.ID
	From, To time.Time // days, both included
	By       Group     // default: ByDay
	After    *string   // the last name of the page before
	Limit    int       // of the rows; 0: none
}

// Matches reports whether a record is selected.
func (q Query) Matches(r Record) bool {
	return (q.Owner == "" || r.Owner == q.Owner) && (q.Session == "" || r.Session == q.Session) && q.InRange(r.Day)
}

// InRange reports whether records of a day are selected.
func (q Query) InRange(day time.Time) bool {
	return (q.From.IsZero() || !day.Before(q.From)) && (q.To.IsZero() || !day.After(q.To))
}

// NameOf is the name of the row that a record belongs to.
func (g Group) NameOf(r Record) string {
	switch g {
	case ByOwner:
		return r.Owner
	case BySession:
		return string(r.Session)
	case ByModel:
		return r.Provider + "/" + r.Model
	default:
		return r.Day.Format(time.DateOnly)
	}
}

// Row is what one group used.
type Row struct {
	Name string
	Use  Use
}

// Page is a page of rows, ordered by the bytes of their names.
type Page struct {
	Rows  []Row
	Total Use  // of all pages
	More  bool // there are rows after the last one
}

// PageOf makes a page of sums by name.
func PageOf(sums map[string]Use, q Query) Page {
	var page Page
	for name, use := range sums {
		page.Total = page.Total.Add(use)
		if q.After == nil || name > *q.After {
			page.Rows = append(page.Rows, Row{name, use})
		}
	}
	slices.SortFunc(page.Rows, func(a, b Row) int { return cmp.Compare(a.Name, b.Name) })
	if q.Limit > 0 && len(page.Rows) > q.Limit {
		page.Rows, page.More = page.Rows[:q.Limit], true
	}
	return page
}
