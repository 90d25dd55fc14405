package doctor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"go.yaml.in/yaml/v4"
)

// composeMount is a part of the host that a compose file gives to a service, as far as it is written in the file.
type composeMount struct {
	service string
	source  string // path on the host; empty if it is left to a variable
	target  string // in the container
	line    int
	what    string // other than a mount: what opens the engine, in words
}

// maxNodes bounds how much of a file is followed: aliases can make a small one endless.
const maxNodes = 100_000

// composeMounts reads the mounts of a compose file: volumes in both forms, volumes that are bound directories, configs
// and secrets that are files, and the engine's socket given by its own key. Variables are replaced as Compose does.
func composeMounts(text []byte, lookup func(string) (string, bool)) ([]composeMount, error) {
	r := &composeReader{lookup: lookup}
	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("read compose file: %w", err)
	}
	for {
		var document yaml.Node
		if err := loader.Load(&document); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("read compose file: %w", err)
		}
		r.file(&document)
		if r.visited > maxNodes {
			return nil, errors.New("read compose file: too many aliases")
		}
	}
	return r.mounts, nil
}

type composeReader struct {
	lookup  func(string) (string, bool)
	mounts  []composeMount
	visited int
}

func (r *composeReader) file(document *yaml.Node) {
	if document.Kind == yaml.DocumentNode && len(document.Content) > 0 {
		document = document.Content[0]
	}
	for section, body := range r.pairs(document) {
		for name, entry := range r.pairs(body) {
			switch section {
			case "services":
				r.service(name, entry)
			case "volumes":
				r.volume(name, entry)
			case "configs", "secrets":
				if file := r.member(entry, "file"); file != nil {
					r.note(section+" "+name, r.text(file), "", file)
				}
			}
		}
	}
}

func (r *composeReader) service(name string, body *yaml.Node) {
	for key, value := range r.pairs(body) {
		switch key {
		case "volumes":
			for _, v := range r.items(value) {
				r.mount(name, v)
			}
		case "use_api_socket":
			if r.text(value) == "true" {
				r.mounts = append(r.mounts, composeMount{service: name, line: value.Line, what: "use_api_socket gives the engine's socket to it"})
			}
		}
	}
}

func (r *composeReader) mount(service string, v *yaml.Node) {
	if v.Kind == yaml.ScalarNode {
		source, target := splitVolume(r.text(v))
		r.note(service, source, target, v)
		return
	}
	var source, target string
	for key, value := range r.pairs(v) {
		switch key {
		case "source", "src":
			source = r.text(value)
		case "target", "dst", "destination":
			target = r.text(value)
		}
	}
	r.note(service, source, target, v)
}

// volume is a named volume; the local driver can bind a directory of the host into it.
func (r *composeReader) volume(name string, body *yaml.Node) {
	if options := r.member(body, "driver_opts"); options != nil {
		if device := r.member(options, "device"); device != nil {
			r.note("volume "+name, r.text(device), "", device)
		}
	}
}

func (r *composeReader) note(service, source, target string, at *yaml.Node) {
	r.mounts = append(r.mounts, composeMount{service: service, source: source, target: target, line: at.Line})
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

// resolve follows an alias.
func (r *composeReader) resolve(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode && r.visited <= maxNodes {
		r.visited++
		n = n.Alias
	}
	return n
}

// pairs goes through a mapping, and those that are merged into it; what is no mapping has no pairs.
func (r *composeReader) pairs(n *yaml.Node) func(yield func(string, *yaml.Node) bool) {
	return func(yield func(string, *yaml.Node) bool) { r.each(n, 0, yield) }
}

func (r *composeReader) each(n *yaml.Node, depth int, yield func(string, *yaml.Node) bool) bool {
	const deepest = 16
	n = r.resolve(n)
	if n == nil || depth > deepest {
		return true
	}
	if n.Kind == yaml.SequenceNode && depth > 0 { // a list of merged mappings
		for _, item := range n.Content {
			if !r.each(item, depth+1, yield) {
				return false
			}
		}
		return true
	}
	if n.Kind != yaml.MappingNode {
		return true
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if r.visited++; r.visited > maxNodes {
			return false
		}
		key, value := n.Content[i].Value, r.resolve(n.Content[i+1])
		if value == nil {
			continue
		}
		var more bool
		if key == "<<" {
			more = r.each(value, depth+1, yield)
		} else {
			more = yield(key, value)
		}
		if !more {
			return false
		}
	}
	return true
}

func (r *composeReader) items(n *yaml.Node) []*yaml.Node {
	n = r.resolve(n)
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	var items []*yaml.Node
	for _, item := range n.Content {
		if r.visited++; r.visited > maxNodes {
			break
		}
		if item = r.resolve(item); item != nil {
			items = append(items, item)
		}
	}
	return items
}

func (r *composeReader) member(n *yaml.Node, name string) *yaml.Node {
	for key, value := range r.pairs(n) {
		if key == name {
			return value
		}
	}
	return nil
}

// text is a scalar with its variables replaced.
func (r *composeReader) text(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode {
		return ""
	}
	return interpolate(n.Value, r.lookup, 0)
}

// interpolate replaces $NAME, ${NAME}, and ${NAME:-default} with its kin; a variable that nobody set and that has no
// default is nothing, as Compose has it.
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

// braces splits "{inner}rest", minding braces within; an unclosed one reaches to the end.
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

// opensEngine says how a mount gives the engine to a container; "" if it does not. sockets are absolute paths.
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
