package config

import (
	"bytes"
	"embed"
	"fmt"
	"path"
	"strings"

	"go.yaml.in/yaml/v4"

	"berth/internal/session"
)

//go:embed profiles/*.yaml
var profileFiles embed.FS

// builtinProfiles reads the profiles that come with Berth, named like their files. A fault in them is a bug that the
// package's tests find, hence the panic.
func builtinProfiles() map[string]session.Profile {
	entries, err := profileFiles.ReadDir("profiles")
	if err != nil {
		panic(fmt.Sprintf("read built-in profiles: %v", err))
	}
	profiles := make(map[string]session.Profile, len(entries))
	for _, entry := range entries {
		text, err := profileFiles.ReadFile(path.Join("profiles", entry.Name()))
		if err != nil {
			panic(fmt.Sprintf("read built-in profile %s: %v", entry.Name(), err))
		}
		var p session.Profile
		if err := yaml.Load(bytes.TrimSpace(text), &p, yaml.WithKnownFields()); err != nil {
			panic(fmt.Sprintf("read built-in profile %s: %v", entry.Name(), err))
		}
		profiles[strings.TrimSuffix(entry.Name(), ".yaml")] = p
	}
	return profiles
}
