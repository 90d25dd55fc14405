package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
)

// WithConfig returns the profile with Config in the variable ConfigEnv, and none beside it.
func (p Profile) WithConfig() (Profile, error) {
	if len(p.Config) == 0 {
		return p, nil
	}
	if p.ConfigEnv == "" {
		return Profile{}, errors.New("config needs config_env, the variable in which the server reads its configuration")
	}
	base := map[string]any{}
	if text := p.Env[p.ConfigEnv]; text != "" {
		dec := json.NewDecoder(bytes.NewReader([]byte(text)))
		dec.UseNumber()
		if err := dec.Decode(&base); err != nil || base == nil {
			return Profile{}, fmt.Errorf("env %s is not a JSON object, to which config could be added", p.ConfigEnv)
		}
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			return Profile{}, fmt.Errorf("env %s has more than one JSON object", p.ConfigEnv)
		}
	}
	text, err := json.Marshal(merged(base, p.Config))
	if err != nil {
		return Profile{}, fmt.Errorf("config has no form in JSON: %w", err)
	}
	p.Env = maps.Clone(p.Env)
	if p.Env == nil {
		p.Env = map[string]string{}
	}
	p.Env[p.ConfigEnv], p.Config = string(text), nil
	return p, nil
}

// merged returns base with the members of more, which are added to objects one by one and replace everything else.
func merged(base, more map[string]any) map[string]any {
	out := maps.Clone(base)
	for name, value := range more {
		mine, isObject := out[name].(map[string]any)
		theirs, both := value.(map[string]any)
		if isObject && both {
			out[name] = merged(mine, theirs)
			continue
		}
		out[name] = value
	}
	return out
}
