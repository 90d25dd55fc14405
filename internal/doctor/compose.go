package doctor

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// composeMount is a part of the host that a compose file mounts into a service.
type composeMount struct {
	service string
	source  string // path on the host; empty if a variable without a value gives it
	target  string // in the container
	line    int
	what    string // other than a mount: what gives access to the engine, for messages
}

// composeFile has the parts of a compose file that are checked. The decoder resolves merged mappings and aliases, and refuses
// files that they expand excessively.
type composeFile struct {
	Services map[string]struct {
		Volumes      []composeVolume
		UseAPISocket composeText `yaml:"use_api_socket"`
	}
	Volumes map[string]struct {
		DriverOpts struct{ Device composeText } `yaml:"driver_opts"` // the local driver can bind a directory of the host
	}
	Configs, Secrets map[string]struct{ File composeText }
}

// composeText is a scalar; anything else is an empty one.
type composeText struct {
	text string
	line int // 0: absent
}

func (t *composeText) UnmarshalYAML(n *yaml.Node) error {
	t.line = n.Line
	if n.Kind == yaml.ScalarNode {
		t.text = n.Value
	}
	return nil
}

// composeVolume is a mount of a service in either form.
type composeVolume struct {
	short                    composeText
	Source, Src              composeText
	Target, Dst, Destination composeText
}

func (v *composeVolume) UnmarshalYAML(n *yaml.Node) error {
	v.short.line = n.Line
	if n.Kind == yaml.ScalarNode {
		v.short.text = n.Value
		return nil
	}
	type long composeVolume // without this method
	return n.Decode((*long)(v))
}

// composeMounts reads the mounts of a compose file: volumes in both forms, volumes that are bound directories, configs
// and secrets that are files, and the engine's socket given by its own key. Variables are replaced as Compose does. Malformed
// entries are skipped.
func composeMounts(text []byte, lookup func(string) (string, bool)) ([]composeMount, error) {
	loader, err := yaml.NewLoader(bytes.NewReader(text), yaml.WithUniqueKeys(false))
	if err != nil {
		return nil, fmt.Errorf("read compose file: %w", err)
	}
	var mounts []composeMount
	for {
		var file composeFile
		err := loader.Load(&file)
		if errors.Is(err, io.EOF) {
			break
		}
		if _, deviates := errors.AsType[*yaml.LoadErrors](err); err != nil && !deviates {
			return nil, fmt.Errorf("read compose file: %w", err)
		}
		mounts = append(mounts, file.mounts(func(t composeText) string { return interpolate(t.text, lookup, 0) })...)
	}
	slices.SortFunc(mounts, func(a, b composeMount) int { return cmp.Or(a.line-b.line, cmp.Compare(a.service, b.service)) })
	return mounts, nil
}

func (f composeFile) mounts(text func(composeText) string) []composeMount {
	var mounts []composeMount
	file := func(owner string, source composeText) {
		if source.line > 0 {
			mounts = append(mounts, composeMount{service: owner, source: text(source), line: source.line})
		}
	}
	for name, service := range f.Services {
		for _, v := range service.Volumes {
			if v.short.line == 0 { // absent
				continue
			}
			m := composeMount{service: name, source: text(cmp.Or(v.Source, v.Src)), target: text(cmp.Or(v.Target, v.Dst, v.Destination)), line: v.short.line}
			if v.short.text != "" {
				m.source, m.target = splitVolume(text(v.short))
			}
			mounts = append(mounts, m)
		}
		if text(service.UseAPISocket) == "true" {
			mounts = append(mounts, composeMount{service: name, line: service.UseAPISocket.line, what: "use_api_socket gives the engine's socket to it"})
		}
	}
	for name, volume := range f.Volumes {
		file("volume "+name, volume.DriverOpts.Device)
	}
	for name, c := range f.Configs {
		file("configs "+name, c.File)
	}
	for name, s := range f.Secrets {
		file("secrets "+name, s.File)
	}
	return mounts
}

// splitVolume splits "source:target:mode". A Windows drive's colon and a pipe's path belong to the source.
func splitVolume(text string) (source, target string) {
	head := ""
	if len(text) > 2 && nameLength(text[:1]) == 1 && text[1] == ':' && (text[2] == '\\' || text[2] == '/') {
		head, text = text[:2], text[2:]
	}
	parts := strings.SplitN(text, ":", 3)
	if len(parts) == 1 {
		return "", head + text
	}
	return head + parts[0], parts[1]
}

// interpolate replaces $NAME, ${NAME}, and ${NAME:-default} and its variants; a variable that is not set and has no
// default is empty, as in Compose.
func interpolate(text string, lookup func(string) (string, bool), depth int) string {
	const deepest = 8
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "$")
		b.WriteString(before)
		if !found || depth > deepest {
			return b.String()
		}
		switch {
		case strings.HasPrefix(rest, "$"):
			b.WriteByte('$')
			text = rest[1:]
		case strings.HasPrefix(rest, "{"):
			inner, after := braces(rest)
			b.WriteString(expand(inner, lookup, depth))
			text = after
		default:
			name := rest[:nameLength(rest)]
			value, _ := lookup(name)
			b.WriteString(value)
			text = rest[len(name):]
		}
	}
}

// braces splits "{inner}rest", with nested braces; an unclosed one extends to the end.
func braces(text string) (inner, rest string) {
	open := 0
	for i, c := range text {
		switch c {
		case '{':
			open++
		case '}':
			if open--; open == 0 {
				return text[1:i], text[i+1:]
			}
		}
	}
	return text[1:], ""
}

func expand(inner string, lookup func(string) (string, bool), depth int) string {
	name := inner[:nameLength(inner)]
	operator := inner[len(name):]
	value, set := lookup(name)
	filled := set && value != ""
	if !strings.HasPrefix(operator, ":") {
		filled = set
	}
	operator = strings.TrimPrefix(operator, ":")
	switch {
	case strings.HasPrefix(operator, "-") && !filled, strings.HasPrefix(operator, "+") && filled:
		return interpolate(operator[1:], lookup, depth+1)
	case strings.HasPrefix(operator, "+"):
		return ""
	}
	return value
}

func nameLength(text string) int {
	for i, c := range text {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return i
		}
	}
	return len(text)
}

// opensEngine describes how a mount gives a container access to the engine; "" if it does not. sockets are absolute paths.
func opensEngine(source, target string, sockets []string) string {
	slashed := strings.ToLower(strings.ReplaceAll(source, `\`, "/"))
	if strings.Contains(slashed, "pipe/docker_engine") {
		return "the engine's pipe"
	}
	if path.IsAbs(source) {
		clean := path.Clean(source)
		for _, socket := range sockets {
			if clean == socket {
				return "the engine's socket"
			}
			if clean == "/" || strings.HasPrefix(socket, clean+"/") {
				return "the directory of the engine's socket"
			}
		}
	}
	for _, end := range []string{source, target} {
		switch path.Base(path.Clean(end)) {
		case "docker.sock", "docker.sock.raw", "podman.sock", "containerd.sock":
			return "a container engine's socket"
		}
	}
	return ""
}
