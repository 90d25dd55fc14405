package main

import "io"

// completionScripts ask the program itself for completions: they do not change when a command is added.
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
	return `The script asks the installed berth for the completions.

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
