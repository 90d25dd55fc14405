package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"

	"github.com/caarlos0/env/v11"
	"go.yaml.in/yaml/v4"

	"berth/internal/session"
)

// Options says where settings come from.
type Options struct {
	File                 string            // configuration file (YAML); empty: BERTH_CONFIG, and none when that is empty too
	SystemFile           string            // absolute path of the file that is read when none is named and this one exists; empty: none
	Environ              []string          // "NAME=value", as os.Environ gives it
	Overrides            map[string]string // from the command line, by variable name; they override all others
	InsecureDockerSocket bool              // whether DOCKER_HOST may be a unix socket
}

// Load reads the settings: defaults, then the file, then the environment, then the overrides, of which the later take
// precedence. An empty value counts as not set. All faults of the sources and of the values are reported in one
// [*FaultsError]; the Config returned with it has the readable settings and is for display only.
func Load(o Options) (Config, error) {
	cfg := Default()
	environ := env.ToMap(o.Environ)
	var faults []Fault

	file := cmp.Or(o.File, o.Overrides["BERTH_CONFIG"], environ["BERTH_CONFIG"])
	if file == "" && o.SystemFile != "" {
		// A file that exists and cannot be read is a fault: its settings may differ from the defaults.
		if _, err := os.Stat(o.SystemFile); !errors.Is(err, fs.ErrNotExist) {
			file = o.SystemFile
		}
	}
	if file != "" {
		faults = append(faults, cfg.readFile(file)...)
	}
	faults = append(faults, cfg.apply(environ)...)
	faults = append(faults, refusedOverrides(o.Overrides)...)
	faults = append(faults, cfg.apply(o.Overrides)...)
	cfg.Server.ConfigFile = file
	cfg.Unknown = unknownVariables(environ)
	cfg.Docker.InsecureSocket = o.InsecureDockerSocket
	faults = append(faults, cfg.Database.readPassword()...)
	faults = append(faults, cfg.OIDC.readSecret()...)
	faults = append(faults, cfg.Models.resolveModels(environ)...)
	cfg.resolve(func(name string) string { return environ[name] }, os.Geteuid() == 0)

	if err := cfg.Validate(); err != nil {
		values, _ := errors.AsType[*FaultsError](err)
		faults = append(faults, values.Faults...)
	}
	return cfg, faultsError(faults)
}

// readFile overlays the settings of a YAML file. Unknown keys are faults: most are typing errors.
func (c *Config) readFile(name string) []Fault {
	text, err := os.ReadFile(name)
	if err != nil {
		return []Fault{{Variable: "BERTH_CONFIG", Value: name, Problem: reason(err)}}
	}
	builtin := c.Profiles
	c.Profiles = nil
	err = decode(text, c)
	own := c.Profiles
	c.Profiles = builtin
	maps.Copy(c.Profiles, own)
	if err == nil {
		return nil
	}
	return fileFaults(name, text, err)
}

// decode reads the single document of a file, which may be empty.
func decode(text []byte, c *Config) error {
	documents, err := yaml.NewLoader(bytes.NewReader(text), yaml.WithKnownFields())
	if err != nil {
		return err
	}
	if err := documents.Load(c); err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	var rest yaml.Node
	if err := documents.Load(&rest); !errors.Is(err, io.EOF) {
		return errors.New("must hold one YAML document, there are more")
	}
	return nil
}

// fileFaults gives each fault of a file its line, and its key if it is a value.
func fileFaults(name string, text []byte, err error) []Fault {
	var loads []*yaml.LoadError
	if many, ok := errors.AsType[*yaml.LoadErrors](err); ok {
		loads = many.Errors
	} else if one, ok := errors.AsType[*yaml.LoadError](err); ok {
		loads = append(loads, one)
	} else {
		return []Fault{{Variable: name, Problem: err.Error()}}
	}
	faults := make([]Fault, len(loads))
	for i, e := range loads {
		faults[i] = Fault{Variable: fmt.Sprintf("%s, line %d", name, e.Mark.Line), Problem: e.Message}
		at := placeOf(text, e.Mark.Line, e.Mark.Column)
		if len(at.keys) == 0 {
			continue
		}
		if allowed := at.allowed(); allowed != "" {
			faults[i].Problem = allowed
		}
		faults[i].Problem = at.String() + ": " + faults[i].Problem
	}
	return faults
}

// apply overlays settings by variable name.
func (c *Config) apply(values map[string]string) []Fault {
	var faults []Fault
	for area := range c.areas() {
		err := env.ParseWithOptions(area.Addr().Interface(), env.Options{Environment: nonNil(values)})
		all, _ := errors.AsType[env.AggregateError](err)
		for _, e := range all.Errors {
			faults = append(faults, parseFault(area.Type(), e, values))
		}
	}
	return faults
}

// nonNil prevents the library from falling back to the process's environment.
func nonNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// parseFault is the fault of a failed conversion, with the name of its variable and the allowed values.
func parseFault(area reflect.Type, err error, values map[string]string) Fault {
	failed, ok := errors.AsType[env.ParseError](err)
	if !ok {
		return Fault{Variable: area.Name(), Problem: err.Error()}
	}
	field, _ := area.FieldByName(failed.Name)
	name := field.Tag.Get("env")
	fault := Fault{Variable: name, Value: values[name], Problem: failed.Err.Error()}
	if field.Type == secretType {
		fault.Value = session.Secret("").String()
	}
	if allowed := (place{kind: field.Type}).allowed(); allowed != "" {
		fault.Problem = allowed
	}
	return fault
}

// refusedOverrides are the faults of unknown names, and of secrets: the command line of a process is public.
func refusedOverrides(overrides map[string]string) []Fault {
	fields := variables()
	var faults []Fault
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		field, known := fields[name]
		switch {
		case !known:
			faults = append(faults, Fault{Variable: name, Problem: "is not a setting"})
		case field.Type == secretType:
			faults = append(faults, Fault{Variable: name, Problem: "is a secret: set it in the environment or in the file, " +
				"because everyone on this machine can read command lines"})
		}
	}
	return faults
}

// reason is a file error without the path, which the fault names already.
func reason(err error) string {
	if pathErr, ok := errors.AsType[*os.PathError](err); ok {
		return fmt.Sprintf("cannot be read: %v", pathErr.Err)
	}
	return err.Error()
}
