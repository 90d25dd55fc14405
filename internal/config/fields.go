package config

import (
	"encoding"
	"iter"
	"reflect"
)

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

// areas yields the structs of settings inside c, settable, in the order of their fields.
func (c *Config) areas() iter.Seq[reflect.Value] {
	return func(yield func(reflect.Value) bool) {
		v := reflect.ValueOf(c).Elem()
		for i := range v.NumField() {
			if v.Field(i).Kind() == reflect.Struct && !yield(v.Field(i)) {
				return
			}
		}
	}
}

// Variables lists the names of all environment variables that are settings, in the order of the documentation.
func Variables() []string {
	var names []string
	var c Config
	for area := range c.areas() {
		for i := range area.NumField() {
			if name := area.Type().Field(i).Tag.Get("env"); name != "" && name != "-" {
				names = append(names, name)
			}
		}
	}
	return names
}
