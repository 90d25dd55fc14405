package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// completionScripts ask the program itself what could come next: they need no renewal when a command is added.
var completionScripts = map[string]string{
	"bash": `_berth() {
    local IFS=$'\n'
    local candidates
    candidates=$(berth __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f1)
    COMPREPLY=($(compgen -W "$candidates" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _berth berth
`,
	"zsh": `#compdef berth
_berth() {
    local -a candidates
    candidates=("${(@f)$(berth __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null | cut -f1)}")
    if [[ -n ${candidates[1]} ]]; then
        compadd -- "${candidates[@]}"
    else
        _files
    fi
}
if [[ ${funcstack[1]} == _berth ]]; then
    _berth "$@"
else
    compdef _berth berth
fi
`,
	"fish": `function __berth_complete
    set -l words (commandline -opc) (commandline -ct)
    berth __complete -- $words[2..] 2>/dev/null
end
complete -c berth -a '(__berth_complete)'
`,
}

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"Shell to complete in: ${enum}."`
}

// Help shows how to install the scripts.
func (completionCmd) Help() string {
	return `The script asks the installed berth for what could come next.

Examples:

    source <(berth completion bash)
    berth completion zsh > "${fpath[1]}/_berth"
    berth completion fish > ~/.config/fish/completions/berth.fish`
}

// Run implements "berth completion".
func (c completionCmd) Run(std *stdio) error {
	_, err := io.WriteString(std.Out, completionScripts[c.Shell])
	return err
}

// completeCmd prints what could stand in the place of the last word, one candidate per line, each with a tab and a
// description where there is one. It prints nothing where any file could stand.
type completeCmd struct {
	Words []string `arg:"" optional:"" help:"The words after berth, the one to complete last."`
}

// Run implements "berth __complete".
func (c completeCmd) Run(parsed *kong.Context, std *stdio) error {
	for _, candidate := range complete(parsed.Model.Node, c.Words) {
		if _, err := fmt.Fprintln(std.Out, candidate); err != nil {
			return err
		}
	}
	return nil
}

// complete follows the words through the commands and lists what could be the last one.
func complete(node *kong.Node, words []string) []string {
	if len(words) == 0 {
		words = []string{""}
	}
	done, last := words[:len(words)-1], words[len(words)-1]
	var pending *kong.Flag // waits for its value
	for _, word := range done {
		switch {
		case pending != nil:
			pending = nil
		case word == "--":
			return nil
		case strings.HasPrefix(word, "-"):
			if f := findFlag(node, word); f != nil && !f.IsBool() && !strings.Contains(word, "=") {
				pending = f
			}
		default:
			if i := slices.IndexFunc(node.Children, func(n *kong.Node) bool {
				return n.Name == word || slices.Contains(n.Aliases, word)
			}); i >= 0 {
				node = node.Children[i]
			}
		}
	}
	return matching(last, candidates(node, pending, last))
}

func candidates(node *kong.Node, pending *kong.Flag, last string) []string {
	var all []string
	switch name, _, hasValue := strings.Cut(last, "="); {
	case pending != nil:
		return enum(pending.Value, "")
	case strings.HasPrefix(last, "-") && hasValue:
		if f := findFlag(node, name); f != nil {
			return enum(f.Value, name+"=")
		}
	case strings.HasPrefix(last, "-"):
		for _, group := range node.AllFlags(true) {
			for _, f := range group {
				all = append(all, "--"+f.Name+"\t"+f.Help)
			}
		}
	default:
		for _, child := range node.Children {
			if !child.Hidden && child.Type == kong.CommandNode {
				all = append(all, child.Name+"\t"+child.Help)
			}
		}
		for _, positional := range node.Positional {
			all = append(all, enum(positional, "")...)
		}
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
