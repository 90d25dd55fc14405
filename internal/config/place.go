package config

import (
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// place is the position of a value in a configuration file: its keys, the outermost first, and the Go type that it is read
// into, nil if that is not known.
type place struct {
	keys    []string
	kind    reflect.Type
	unknown bool // the last key does not exist
}

// String is like "limits.max_sessions".
func (p place) String() string { return strings.Join(p.keys, ".") }

// allowed says which values are allowed here; "" if the type does not define that.
func (p place) allowed() string {
	if p.unknown {
		return "is not a setting"
	}
	if p.kind == nil || reflect.PointerTo(p.kind).Implements(textUnmarshaler) {
		return ""
	}
	switch p.kind.Kind() {
	case reflect.Bool:
		return "must be true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "must be a whole number"
	case reflect.Float32, reflect.Float64:
		return "must be a number"
	case reflect.String:
		return "must be text"
	case reflect.Slice:
		return "must be a list"
	case reflect.Map, reflect.Struct:
		return "must be a mapping of keys to values"
	default:
		return ""
	}
}

// placeOf finds the value at a line and column (from 1) of a file. The place is empty where there is none.
func placeOf(text []byte, line, column int) place {
	var document yaml.Node
	if yaml.Unmarshal(text, &document) != nil || len(document.Content) == 0 {
		return place{}
	}
	found, _ := findPlace(document.Content[0], place{kind: reflect.TypeFor[Config]()}, line, column)
	return found
}

func findPlace(n *yaml.Node, at place, line, column int) (place, bool) {
	// A mapping has the position of its first key: a fault there is one of the key, if a mapping is expected.
	isStruct := at.kind != nil && at.kind.Kind() == reflect.Struct && n.Kind == yaml.MappingNode
	if n.Line == line && n.Column == column && len(at.keys) > 0 && !isStruct {
		return at, true
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			member := place{keys: append(slices.Clip(at.keys), key.Value), kind: memberType(at.kind, key.Value)}
			if isStruct && member.kind == nil && key.Line == line && key.Column == column {
				member.unknown = true
				return member, true
			}
			if found, ok := findPlace(n.Content[i+1], member, line, column); ok {
				return found, true
			}
		}
	case yaml.SequenceNode:
		var element reflect.Type
		if at.kind != nil && at.kind.Kind() == reflect.Slice {
			element = at.kind.Elem()
		}
		for _, child := range n.Content {
			if found, ok := findPlace(child, place{keys: at.keys, kind: element}, line, column); ok {
				return found, true
			}
		}
	default: // it has no children
	}
	return place{}, false
}

// memberType is the type of the value of a key of a mapping.
func memberType(of reflect.Type, key string) reflect.Type {
	switch {
	case of == nil:
		return nil
	case of.Kind() == reflect.Map:
		return of.Elem()
	case of.Kind() != reflect.Struct:
		return nil
	}
	for field := range of.NumField() {
		f := of.Field(field)
		if name, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); name == key {
			return f.Type
		}
	}
	return nil
}
