package config

import (
	"encoding"
	"iter"
	"reflect"

	"berth/internal/session"
)

var (
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	secretType      = reflect.TypeFor[session.Secret]()
)

// areas yields the structs of settings in c, settable, in the order of their fields.
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

// settings yields the fields of all areas that have a variable, with their values, in the order of the documentation.
func (c *Config) settings() iter.Seq2[reflect.StructField, reflect.Value] {
	return func(yield func(reflect.StructField, reflect.Value) bool) {
		for area := range c.areas() {
			for i := range area.NumField() {
				field := area.Type().Field(i)
				if name := field.Tag.Get("env"); name != "" && name != "-" && !yield(field, area.Field(i)) {
					return
				}
			}
		}
	}
}

// variables holds the fields by the names of their variables.
func variables() map[string]reflect.StructField {
	fields := map[string]reflect.StructField{}
	for field := range new(Config).settings() {
		fields[field.Tag.Get("env")] = field
	}
	return fields
}

// Changed lists the variables whose settings differ, in the order of the documentation, and "profiles", "models", "git" and
// "budgets" if those do. Secrets are compared and not shown.
func Changed(a, b Config) []string {
	var changed []string
	values := map[string]any{}
	for field, value := range a.settings() {
		values[field.Tag.Get("env")] = value.Interface()
	}
	for field, value := range b.settings() {
		if name := field.Tag.Get("env"); !reflect.DeepEqual(values[name], value.Interface()) {
			changed = append(changed, name)
		}
	}
	if !reflect.DeepEqual(a.Profiles, b.Profiles) {
		changed = append(changed, "profiles")
	}
	if !reflect.DeepEqual(a.Models.Providers, b.Models.Providers) {
		changed = append(changed, "models")
	}
	if !reflect.DeepEqual(a.Git, b.Git) {
		changed = append(changed, "git")
	}
	if !reflect.DeepEqual(a.Egress.rules(), b.Egress.rules()) {
		changed = append(changed, "egress")
	}
	if !reflect.DeepEqual(a.Budgets.withoutCurrency(), b.Budgets.withoutCurrency()) {
		changed = append(changed, "budgets")
	}
	return changed
}

// Variables lists the names of all environment variables that are settings, in the order of the documentation.
func Variables() []string {
	var names []string
	for field := range new(Config).settings() {
		names = append(names, field.Tag.Get("env"))
	}
	return names
}
