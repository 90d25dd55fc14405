package dockerd

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// command is how the service manager starts the engine.
type command struct {
	line      []word   // ExecStart of systemd; empty for others
	variables []string // values that end on the command line although they stand elsewhere, such as DOCKER_OPTS
}

// word is one argument as it is spelled and as it is meant.
type word struct {
	raw, text string
}

// fragment is the heading that "systemctl cat" puts before each file.
var fragment = regexp.MustCompile(`^# (/\S+\.(?:service|conf))$`)

// unit is what matters of a systemd service.
type unit struct {
	start        []string // values of ExecStart
	environment  []string // values of Environment
	environments []string // values of EnvironmentFile
}

// parseUnit reads what "systemctl cat" prints, without the fragment named own. Later settings win, and an empty one
// forgets the earlier ones, as systemd has it.
func parseUnit(cat, own string) unit {
	var u unit
	section, skip, pending := "", false, ""
	for line := range strings.Lines(cat) {
		line = strings.TrimSpace(line)
		if m := fragment.FindStringSubmatch(line); m != nil && pending == "" {
			skip = m[1] == own
			continue
		}
		if skip || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		if begin, more := strings.CutSuffix(line, `\`); more {
			pending += begin + " "
			continue
		}
		line, pending = pending+line, ""
		if strings.HasPrefix(line, "[") {
			section = line
			continue
		}
		key, value, found := strings.Cut(line, "=")
		if !found || section != "[Service]" {
			continue
		}
		var list *[]string
		switch strings.TrimSpace(key) {
		case "ExecStart":
			list = &u.start
		case "Environment":
			list = &u.environment
		case "EnvironmentFile":
			list = &u.environments
		default:
			continue
		}
		if value = strings.TrimSpace(value); value == "" {
			*list = nil
		} else {
			*list = append(*list, value)
		}
	}
	return u
}

// words splits a command line. Quotes keep words together and stay in raw.
func words(line string) ([]word, error) {
	var out []word
	var raw, text strings.Builder
	quote := rune(0)
	flush := func() {
		if raw.Len() > 0 {
			out = append(out, word{raw.String(), text.String()})
			raw.Reset()
			text.Reset()
		}
	}
	for _, r := range line {
		switch {
		case quote == 0 && (r == ' ' || r == '\t'):
			flush()
			continue
		case quote == 0 && (r == '"' || r == '\''):
			quote = r
		case quote != 0 && r == quote:
			quote = 0
		default:
			text.WriteRune(r)
		}
		raw.WriteRune(r)
	}
	if quote != 0 {
		return nil, errors.New("a quotation mark is not closed")
	}
	flush()
	return out, nil
}

// hostFlag matches the short spelling of --host, also behind short flags that take no value.
var hostFlag = regexp.MustCompile(`^-([Dv]*)H(=?)(.*)$`)

// ours are the flags that daemon.json takes over, with whether they take a value of their own word.
var ours = map[string]bool{"--host": true, "--tlscacert": true, "--tlscert": true, "--tlskey": true, "--tls": false, "--tlsverify": false}

// strip removes the flags that daemon.json replaces from the command line, and returns the hosts that they named.
func strip(line []word) (rest []word, hosts []string) {
	for i := 0; i < len(line); i++ {
		w := line[i]
		if m := hostFlag.FindStringSubmatch(w.text); m != nil {
			if m[1] != "" {
				rest = append(rest, word{"-" + m[1], "-" + m[1]})
			}
			switch {
			case m[2] == "" && m[3] == "" && i+1 < len(line):
				i++
				hosts = append(hosts, line[i].text)
			case m[3] != "":
				hosts = append(hosts, m[3])
			}
			continue
		}
		name, value, joined := strings.Cut(w.text, "=")
		takesValue, known := ours[name]
		if !known {
			rest = append(rest, w)
			continue
		}
		if takesValue && !joined && i+1 < len(line) {
			i++
			value = line[i].text
		}
		if name == "--host" && value != "" {
			hosts = append(hosts, value)
		}
	}
	return rest, hosts
}

func join(line []word) string {
	raw := make([]string, len(line))
	for i, w := range line {
		raw[i] = w.raw
	}
	return strings.Join(raw, " ")
}

// program is the path of the engine in its command line, without the marks that systemd understands before it.
func program(line []word) string {
	if len(line) == 0 {
		return ""
	}
	return strings.TrimLeft(line[0].text, "@-:+!")
}

// longFlags are the names of the flags on a command line, without dashes and values.
func longFlags(line []word) []string {
	var names []string
	for _, w := range line {
		if name, found := strings.CutPrefix(w.text, "--"); found {
			name, _, _ = strings.Cut(name, "=")
			names = append(names, name)
		}
	}
	return names
}

// flagValue is the value of a flag on a command line; "" when it is not there.
func flagValue(line []word, flag string) string {
	value := ""
	for i, w := range line {
		if v, found := strings.CutPrefix(w.text, flag+"="); found {
			value = v
		} else if w.text == flag && i+1 < len(line) {
			value = line[i+1].text
		}
	}
	return value
}

// isFlagOf reports whether a flag sets the same as a key of daemon.json; a key of a list is in the plural.
func isFlagOf(flag, key string) bool {
	return flag == key || flag+"s" == key || strings.TrimSuffix(flag, "y")+"ies" == key
}

// dropInText is the drop-in that makes systemd start the engine with the rest of its command line, and the rules ahead of
// it, those of closed with it, by each of the programs. It is empty when none is needed.
func dropInText(line, rest []word, rules []Rule, closed isolation, programs ...string) string {
	var out strings.Builder
	if !slices.Equal(line, rest) {
		fmt.Fprintf(&out, "# daemon.json says where the engine listens, so its command line must not.\nExecStart=\nExecStart=%s\n", join(rest))
	}
	if len(rules) > 0 {
		out.WriteString("# Containers must not reach the engine's port.\n")
	}
	for _, r := range rules {
		fmt.Fprintf(&out, "ExecStartPre=/bin/sh -c '%s 2>/dev/null || %s'\n", r.command("-C"), r.command("-I"))
	}
	if len(programs) > 0 {
		out.WriteString("# Sessions must not reach this machine, nor others the sessions.\n")
	}
	for _, program := range programs {
		ignore := ""
		if program == families[1] { // sessions' networks have no IPv6: the engine starts without it
			ignore = "-"
		}
		before, after := closed.shell(program)
		fmt.Fprintf(&out, "ExecStartPre=%s/bin/sh -c '%s'\nExecStartPost=%s/bin/sh -c '%s'\n", ignore, before, ignore, after)
	}
	if out.Len() == 0 {
		return ""
	}
	return "# Made by \"berth docker setup-tls\"; \"berth docker setup-tls --undo\" removes it.\n[Service]\n" + out.String()
}
