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

// completeCmd prints the completions of the last word, one per line, each with a tab and a description if it has one. It
// prints nothing where a file name is expected.
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
	pending *kong.Flag        // the flag that the last word is the value of; nil: none
	values  map[string]string // of the preceding flags
	ended   bool              // after "--": the rest are arguments
	last    string
}

// parse parses all words but the last.
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

// wantsSession reports whether the last word is a session ID.
func (l line) wantsSession() bool {
	return l.pending == nil && (l.ended || !strings.HasPrefix(l.last, "-")) &&
		slices.ContainsFunc(l.node.Positional, func(p *kong.Positional) bool { return p.Name == "session" })
}

// remote is the Berth of the preceding flags.
func (l line) remote() remote { return remote{URL: l.values["url"], TokenFile: l.values["token-file"]} }

// completionTimeout bounds the query for session IDs.
const completionTimeout = time.Second

// sessionIDs lists the sessions of a Berth with status and owner; none if it does not answer in time.
func sessionIDs(ctx context.Context, r remote, std *stdio) []string {
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
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

// enum lists the values of a flag or argument of an enumeration.
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
