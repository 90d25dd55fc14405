package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"berth/internal/usage"
)

// Settings are what a session's OpenCode is told of the operator's models.
type Settings struct {
	Providers []Provider // their keys are not used
	Default   string     // model of new conversations, like "anthropic/claude-sonnet-5"; empty: OpenCode chooses
	Small     string     // model of titles and summaries; empty: OpenCode chooses
}

// adapters are the libraries of OpenCode for the kinds. They are part of its binary.
var adapters = map[Kind]string{
	OpenAICompatible: "@ai-sdk/openai-compatible",
	OpenAI:           "@ai-sdk/openai",
	Anthropic:        "@ai-sdk/anthropic",
	Google:           "@ai-sdk/google",
}

// openCode is the part of OpenCode's configuration that names models.
type openCode struct {
	Model    string                      `json:"model,omitempty"`
	Small    string                      `json:"small_model,omitempty"`
	Provider map[string]openCodeProvider `json:"provider"`
}

type openCodeProvider struct {
	Adapter string                   `json:"npm"`
	Name    string                   `json:"name,omitempty"`
	Options map[string]any           `json:"options"`
	Allowed []string                 `json:"whitelist"`
	Models  map[string]openCodeModel `json:"models"`
}

type openCodeModel struct {
	Name       string              `json:"name,omitempty"`
	ToolCall   bool                `json:"tool_call"`
	Attachment bool                `json:"attachment,omitempty"`
	Reasoning  bool                `json:"reasoning,omitempty"`
	Modalities map[string][]string `json:"modalities,omitempty"`
	Limit      map[string]int64    `json:"limit,omitempty"`
	Cost       map[string]float64  `json:"cost,omitempty"`
}

// Configuration adds the operator's models to a profile's OpenCode configuration, which is a JSON object or empty. gateway is the
// gateway's address as containers reach it, like "http://10.77.0.1:8081"; variable is the environment variable with the session's
// token. Without providers base is returned as it is.
//
// Providers that users define in their workspace stay possible, because no list of enabled providers is written: the ones that need no
// key are disabled by the profile, and for the others there is no key in a container. A user's provider of the same name has the
// gateway's address and token, because this configuration goes before that of a workspace.
func Configuration(base []byte, gateway, variable string, s Settings) ([]byte, error) {
	if len(s.Providers) == 0 {
		return base, nil
	}
	merged := map[string]json.RawMessage{}
	if len(strings.TrimSpace(string(base))) > 0 {
		if err := json.Unmarshal(base, &merged); err != nil {
			return nil, fmt.Errorf("the profile's OpenCode configuration is not a JSON object: %w", err)
		}
	}
	own := openCode{Model: s.Default, Small: s.Small, Provider: map[string]openCodeProvider{}}
	for _, p := range s.Providers {
		own.Provider[p.Name] = p.openCode(strings.TrimRight(gateway, "/"), variable)
	}
	providers := map[string]json.RawMessage{}
	if given, found := merged["provider"]; found {
		if json.Unmarshal(given, &providers) != nil || providers == nil {
			return nil, errors.New("provider of the profile's OpenCode configuration is not an object")
		}
	}
	for name, p := range own.Provider {
		providers[name] = encode(p)
	}
	merged["provider"] = encode(providers)
	if own.Model != "" {
		merged["model"] = encode(own.Model)
	}
	if own.Small != "" {
		merged["small_model"] = encode(own.Small)
	}
	return json.Marshal(merged)
}

func encode(v any) json.RawMessage {
	text, _ := json.Marshal(v) // of strings, numbers and maps of them
	return text
}

// openCode is the provider in OpenCode's configuration.
func (p Provider) openCode(gateway, variable string) openCodeProvider {
	c := openCodeProvider{
		Adapter: adapters[p.Kind],
		Options: map[string]any{
			"baseURL": gateway + Prefix + p.Name + strings.TrimSuffix(p.Kind.prefix(), "/"),
			"apiKey":  "{env:" + variable + "}",
		},
		Models: map[string]openCodeModel{},
	}
	if p.Name != string(p.Kind) { // OpenCode knows the others by their own names
		c.Name = p.Name
	}
	for id, m := range p.Models {
		c.Allowed = append(c.Allowed, id)
		c.Models[id] = m.openCode()
	}
	return c
}

// openCode is the model in OpenCode's configuration. What is not known is left out: OpenCode knows the models of the large providers.
func (m Model) openCode() openCodeModel {
	c := openCodeModel{Name: m.Title, ToolCall: true, Reasoning: m.Reasoning}
	if m.Images {
		c.Attachment = true
		c.Modalities = map[string][]string{"input": {"text", "image", "pdf"}, "output": {"text"}}
	}
	if m.Context > 0 && m.Output > 0 {
		c.Limit = map[string]int64{"context": m.Context, "output": m.Output}
	}
	if m.Price != (usage.Price{}) {
		c.Cost = map[string]float64{"input": m.Price.Input, "output": m.Price.Output}
		if m.Price.Cached > 0 {
			c.Cost["cache_read"] = m.Price.Cached
		}
	}
	return c
}
