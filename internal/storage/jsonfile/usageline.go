package jsonfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"berth/internal/session"
	"berth/internal/usage"
)

// usageLine is a line of a day's file of usage: a hold, what its call used in the end, or what calls used together.
type usageLine struct {
	Hold     string     `json:"hold,omitempty"` // ID of a hold that begins; the numbers are those that it holds
	End      string     `json:"end,omitempty"`  // ID of a hold that ends; the names are those of its line
	At       *time.Time `json:"at,omitempty"`   // of a hold
	Prompt   int64      `json:"prompt_micros,omitempty"`
	Session  session.ID `json:"session,omitempty"`
	Owner    string     `json:"owner,omitempty"`
	Provider string     `json:"provider,omitempty"`
	Model    string     `json:"model,omitempty"`

	Calls     int64 `json:"calls,omitempty"`
	Input     int64 `json:"input,omitempty"`
	Cached    int64 `json:"cached,omitempty"`
	Output    int64 `json:"output,omitempty"`
	Estimated int64 `json:"estimated,omitempty"`
	Micros    int64 `json:"micros,omitempty"`
}

func holdLine(h usage.Hold) usageLine {
	return usageLine{
		Hold: h.ID, At: &h.At, Session: h.Session, Owner: h.Owner, Provider: h.Provider, Model: h.Model,
		Input: h.Tokens.Input, Cached: h.Tokens.Cached, Output: h.Tokens.Output, Micros: h.Micros, Prompt: h.Prompt,
	}
}

func endLine(id string, u usage.Use) usageLine {
	l := useLine(usage.Record{}, u)
	l.End = id
	return l
}

// useLine is what calls with the names of r used together.
func useLine(r usage.Record, u usage.Use) usageLine {
	return usageLine{
		Session: r.Session, Owner: r.Owner, Provider: r.Provider, Model: r.Model, Calls: u.Calls,
		Input: u.Tokens.Input, Cached: u.Tokens.Cached, Output: u.Tokens.Output, Estimated: u.Estimated, Micros: u.Micros,
	}
}

func (l usageLine) encode() []byte {
	text, _ := json.Marshal(l) // strings and numbers have a JSON form
	return append(text, '\n')
}

func (l usageLine) use() usage.Use {
	return usage.Use{
		Calls: l.Calls, Tokens: usage.Tokens{Input: l.Input, Cached: l.Cached, Output: l.Output},
		Estimated: l.Estimated, Micros: l.Micros,
	}
}

func (l usageLine) hold() (usage.Hold, error) {
	if l.At == nil {
		return usage.Hold{}, errors.New("a hold has no time")
	}
	return usage.Hold{
		ID: l.Hold, At: l.At.UTC(), Session: l.Session, Owner: l.Owner, Provider: l.Provider, Model: l.Model,
		Tokens: l.use().Tokens, Micros: l.Micros, Prompt: l.Prompt,
	}, nil
}

// usageName is what records of one day differ by.
type usageName struct {
	session                session.ID
	owner, provider, model string
}

// usageDay is the content of a day's file.
type usageDay struct {
	used   map[usageName]usage.Use
	open   map[string]usage.Hold // that have not ended
	starts map[string]int64      // the offsets of their lines
	size   int64                 // of the lines that are complete
}

func (d *usageDay) add(r usage.Record) {
	if r.Use() == (usage.Use{}) {
		return // the provider refused the call
	}
	name := usageName{r.Session, r.Owner, r.Provider, r.Model}
	d.used[name] = d.used[name].Add(r.Use())
}

// records returns the records of a day. Holds whose lines are before orphaned are those of ended processes, and among them.
func (d *usageDay) records(day time.Time, orphaned int64) []usage.Record {
	for id, h := range d.open {
		if d.starts[id] < orphaned {
			d.add(h.Record(h.Estimate()))
		}
	}
	all := make([]usage.Record, 0, len(d.used))
	for name, u := range d.used {
		all = append(all, usage.Record{
			Day: day, Session: name.session, Owner: name.owner, Provider: name.provider, Model: name.model,
			Calls: u.Calls, Tokens: u.Tokens, Estimated: u.Estimated, Micros: u.Micros,
		})
	}
	return all
}

// parseUsage reads a day's file. A last line that was cut off is no part of it, and neither is a line with zero bytes, which a
// crash of the machine leaves. Any other line that cannot be read is an error.
func parseUsage(data []byte) (usageDay, error) {
	d := usageDay{used: map[usageName]usage.Use{}, open: map[string]usage.Hold{}, starts: map[string]int64{}}
	for number := 1; ; number++ {
		rest := data[d.size:]
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			return d, nil
		}
		if line := rest[:end]; bytes.IndexByte(line, 0) < 0 {
			if err := d.take(line); err != nil {
				return d, fmt.Errorf("is damaged: line %d: %w", number, err)
			}
		}
		d.size += int64(end) + 1
	}
}

// take adds the next line.
func (d *usageDay) take(text []byte) error {
	var l usageLine
	if err := json.Unmarshal(text, &l); err != nil {
		return err
	}
	switch {
	case l.Hold != "":
		h, err := l.hold()
		if err != nil {
			return err
		}
		d.open[h.ID], d.starts[h.ID] = h, d.size
	case l.End != "":
		if h, known := d.open[l.End]; known { // otherwise it is repeated
			d.add(h.Record(l.use()))
			delete(d.open, l.End)
		}
	default:
		name := usageName{l.Session, l.Owner, l.Provider, l.Model}
		d.used[name] = d.used[name].Add(l.use())
	}
	return nil
}
