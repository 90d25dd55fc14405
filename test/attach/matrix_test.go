package attach_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"berth/test/chromium"
	"berth/test/harness"
)

var update = flag.Bool("update", false, "write the table into the documentation")

// works is the note of a client that attaches by an address.
const works = "ok"

// clients are what a user attaches with. Each tries one door and returns [works], or why it does not apply there, after it has seen
// for itself that it does not.
var clients = []struct {
	name string
	try  func(*door) (note string, err error)
}{
	{"web interface", webInterface},
	{"its terminal", webTerminal},
	{"`opencode attach`", opencodeAttach},
	{"`opencode run --attach`", opencodeRun},
	{"curl, `Bearer`", with("bearer")},
	{"curl, `Basic`", with("basic")},
	{"curl, `?auth_token=`", with("query")},
	{"curl, cookie", with("cookie")},
	{"SDK", sdk},
	{"desktop client", desktopClient},
	{"OpenCode 2 client", paired},
}

// Of each installation, the addresses that it is tried by: by name and by port with TLS, and what a Berth on the user's own machine
// has without any setting.
var installations = []struct {
	secure bool
	doors  []string
}{
	{true, []string{"host", "port"}},
	{false, []string{"localhost", "path"}},
}

// heads of the columns.
var heads = []string{"Client", "name below `SESSION_DOMAIN`", "port of `SESSION_PORTS`", "`*.localhost`", "path"}

// tab is a tab of the browser that all doors share.
type tab = context.Context

func TestEveryClientAttachesByEveryAddress(t *testing.T) {
	t.Parallel()
	browser := chromium.Start(t)
	notes := make([][]string, len(clients))
	for i := range notes {
		notes[i] = make([]string, len(heads))
		notes[i][0] = clients[i].name
	}
	t.Run("installations", func(t *testing.T) {
		column := 1
		for _, i := range installations {
			first := column
			column += len(i.doors)
			t.Run(strings.Join(i.doors, "+"), func(t *testing.T) {
				t.Parallel()
				r := openRoom(t, i.secure)
				r.tab = chromium.NewTab(browser, t)
				r.show(t)
				for n, by := range i.doors {
					d := r.door(t, by)
					for row, c := range clients {
						begun := time.Now()
						note, err := c.try(d)
						if err != nil {
							note = "failed"
							t.Errorf("%s by %s: %v", c.name, by, err)
						}
						notes[row][first+n] = note
						t.Logf("%s by %s: %s, %s", c.name, by, note, time.Since(begun).Round(time.Millisecond))
					}
				}
			})
		}
	})
	table := markdown(append([][]string{heads}, notes...))
	t.Logf("who attaches by which address:\n%s", table)
	if !t.Failed() {
		compare(t, "../../docs/access.md", table)
	}
}

// markdown aligns the columns of a table.
func markdown(rows [][]string) string {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var out strings.Builder
	for n, row := range rows {
		for i, cell := range row {
			fmt.Fprintf(&out, "| %-*s ", width[i], cell)
		}
		out.WriteString("|\n")
		if n == 0 {
			for _, w := range width {
				out.WriteString("|" + strings.Repeat("-", w+2))
			}
			out.WriteString("|\n")
		}
	}
	return out.String()
}

// heading stands before the table in the documentation.
const heading = "## Which client attaches by which address\n"

// compare checks that a page has the table, or writes it there with -update.
func compare(t *testing.T, page, table string) {
	t.Helper()
	text, err := os.ReadFile(page)
	harness.Must(t, err)
	before, section, found := strings.Cut(string(text), heading)
	intro, rest, hasTable := strings.Cut(section, "\n| ")
	old, after, ends := strings.Cut(rest, "\n\n")
	switch {
	case !found || !hasTable || !ends:
		t.Errorf("%s has no table after %q", page, heading)
	case "| "+old+"\n" == table:
	case *update:
		harness.Must(t, os.WriteFile(page, []byte(before+heading+intro+"\n"+table+"\n"+after), 0o644))
	default:
		t.Errorf("%s has another table: see whether the change is right, and write it with -update", page)
	}
}
