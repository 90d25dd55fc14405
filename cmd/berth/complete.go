package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"berth/internal/httpapi"
)

// completeCmd prints what could stand in the place of the last word, one candidate per line, each with a tab and a
// description where there is one. It prints nothing where any file could stand.
type completeCmd struct {
	Words []string `arg:"" optional:"" help:"The words after berth, the one to complete last."`
}

// Run implements "berth __complete".
func (c completeCmd) Run(ctx context.Context, parsed *kong.Context, std *stdio) error {
	words := c.Words
	if len(words) == 0 {
		words = []string{""}
	}
	l := parse(parsed.Model.Node, words)
	candidates := l.candidates()
	if l.wantsSession() {
		candidates = append(candidates, sessionIDs(ctx, l.remote(), std)...)
	}
	for _, candidate := range matching(l.last, candidates) {
		if _, err := fmt.Fprintln(std.Out, candidate); err != nil {
			return err
		}
	}
	return nil
}

// line is a command line of which the last word is being typed.
type line struct {
	node    *kong.Node
	pending *kong.Flag        // waits for the last word as its value; nil: none does
	values  map[string]string // of the flags before
	ended   bool              // there was a "--": what follows is no flag and no command
	last    string
}

// parse follows all words but the last through the commands.
func parse(node *kong.Node, words []string) line {
	l := line{node: node, values: map[string]string{}, last: words[len(words)-1]}
	for _, word := range words[:len(words)-1] {
		switch {
		case l.pending != nil:
			l.values[l.pending.Name] = word
			l.pending = nil
		case l.ended:
		case word == "--":
			l.ended = true
		case strings.HasPrefix(word, "-"):
			f := findFlag(l.node, word)
			if f == nil || f.IsBool() {
				continue
			}
			if _, value, ok := strings.Cut(word, "="); ok {
				l.values[f.Name] = value
			} else {
				l.pending = f
			}
		default:
			if i := slices.IndexFunc(l.node.Children, func(n *kong.Node) bool {
				return n.Name == word || slices.Contains(n.Aliases, word)
			}); i >= 0 {
				l.node = l.node.Children[i]
			}
		}
	}
	return l
}

func (l line) candidates() []string {
	var all []string
	switch name, _, hasValue := strings.Cut(l.last, "="); {
	case l.ended:
	case l.pending != nil:
		return enum(l.pending.Value, "")
	case strings.HasPrefix(l.last, "-") && hasValue:
		if f := findFlag(l.node, name); f != nil {
			return enum(f.Value, name+"=")
		}
	case strings.HasPrefix(l.last, "-"):
		for _, group := range l.node.AllFlags(true) {
			for _, f := range group {
				all = append(all, "--"+f.Name+"\t"+f.Help)
			}
		}
	default:
		for _, child := range l.node.Children {
			if !child.Hidden && child.Type == kong.CommandNode {
				all = append(all, child.Name+"\t"+child.Help)
			}
		}
		for _, positional := range l.node.Positional {
			all = append(all, enum(positional, "")...)
		}
	}
	return all
}

// wantsSession reports whether the last word is the ID of a session.
func (l line) wantsSession() bool {
	return l.pending == nil && (l.ended || !strings.HasPrefix(l.last, "-")) &&
		slices.ContainsFunc(l.node.Positional, func(p *kong.Positional) bool { return p.Name == "session" })
}

// remote is the Berth that the flags typed so far name.
func (l line) remote() remote { return remote{URL: l.values["url"], TokenFile: l.values["token-file"]} }

// completionTime is how long somebody who has pressed Tab is kept waiting.
const completionTime = time.Second

// sessionIDs lists the sessions of a Berth with what tells them apart. One that does not answer in time has none.
func sessionIDs(ctx context.Context, r remote, std *stdio) []string {
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	r.URL = cmp.Or(r.URL, std.Getenv("BERTH_URL"))
	r.TokenFile = cmp.Or(r.TokenFile, std.Getenv("BERTH_ADMIN_TOKEN_FILE"))
	api, err := r.ProvideClient(std)
	if err != nil {
		return nil
	}
	var page struct {
		Sessions []httpapi.Session `json:"sessions"`
	}
	if api.call(ctx, http.MethodGet, "/sessions?limit=1000", nil, nil, &page) != nil {
		return nil
	}
	all := make([]string, len(page.Sessions))
	for i, s := range page.Sessions {
		all[i] = string(s.ID) + "\t" + strings.TrimSpace(string(s.Status)+" "+oneLine(s.Owner))
	}
	return all
}

// enum lists the values that a flag or argument may have, if they are a closed set.
func enum(v *kong.Value, prefix string) []string {
	if v.Enum == "" {
		return nil
	}
	var all []string
	for _, value := range v.EnumSlice() {
		all = append(all, prefix+value)
	}
	return all
}

func matching(prefix string, candidates []string) []string {
	return slices.DeleteFunc(candidates, func(c string) bool { return !strings.HasPrefix(c, prefix) })
}

// findFlag finds a flag of node or of the commands above it, by its long or short name.
func findFlag(node *kong.Node, word string) *kong.Flag {
	word, _, _ = strings.Cut(word, "=")
	for _, group := range node.AllFlags(false) {
		for _, f := range group {
			if word == "--"+f.Name || f.Short != 0 && word == "-"+string(f.Short) {
				return f
			}
		}
	}
	return nil
}
