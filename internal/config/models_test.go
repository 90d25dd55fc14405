package config

import (
	"bytes"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

func TestKeyInEnvironmentDefinesProvider(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		environ        []string
		names          string
		model, small   string
		baseURLOfFirst string
	}{
		{nil, "", "", "", ""},
		{[]string{"OPENAI_API_KEY=sk-1"}, "openai", "openai/gpt-6-sol", "openai/gpt-6-luna", "https://api.openai.com/v1"},
		{[]string{"ANTHROPIC_API_KEY=sk-1"}, "anthropic", "anthropic/claude-sonnet-5", "anthropic/claude-haiku-4-5", "https://api.anthropic.com/v1"},
		{[]string{"GEMINI_API_KEY=sk-1"}, "google", "google/gemini-3.1-pro-preview", "google/gemini-3.8-flash", "https://generativelanguage.googleapis.com/v1beta"},
		{[]string{"OPENAI_API_KEY=sk-1", "GEMINI_API_KEY=sk-2"}, "google openai", "openai/gpt-6-sol", "openai/gpt-6-luna", "https://generativelanguage.googleapis.com/v1beta"},
		{[]string{"OPENAI_API_KEY=sk-1", "BERTH_MODEL=openai/gpt-6-astra"}, "openai", "openai/gpt-6-astra", "openai/gpt-6-luna", "https://api.openai.com/v1"},
	} {
		c := load(t, Options{Environ: tc.environ})
		var names []string
		for _, name := range []string{"anthropic", "google", "openai"} {
			p, found := c.Models.Providers[name]
			if !found {
				continue
			}
			if names = append(names, name); len(names) == 1 && p.BaseURL != tc.baseURLOfFirst {
				t.Errorf("%v: base URL %q", tc.environ, p.BaseURL)
			}
			if !strings.HasPrefix(p.Key.Reveal(), "sk-") {
				t.Errorf("%v: %s has no key", tc.environ, name)
			}
		}
		if strings.Join(names, " ") != tc.names || c.Models.Default != tc.model || c.Models.Small != tc.small {
			t.Errorf("%v: got providers %v with the models %q and %q", tc.environ, names, c.Models.Default, c.Models.Small)
		}
		if len(c.Unknown) > 0 {
			t.Errorf("%v: unknown variables %q", tc.environ, c.Unknown)
		}
		for _, w := range c.Warnings() {
			if strings.Contains(w, "sk-") || strings.Contains(w, "_API_KEY") {
				t.Errorf("%v: warning %q", tc.environ, w)
			}
		}
	}
}

func TestKeysAreNotShown(t *testing.T) {
	t.Parallel()
	file := write(t, "models: {providers: {a: {kind: openai, key: sk-in-the-file}, b: {kind: google, key_env: MY_KEY}}}\n")
	c := load(t, Options{File: file, Environ: []string{"ANTHROPIC_API_KEY=sk-in-the-environment", "MY_KEY=sk-in-a-variable"}})
	var shown bytes.Buffer
	text, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	shown.Write(text)
	if strings.Contains(shown.String(), "sk-in") {
		t.Errorf("a key is shown:\n%s", shown.String())
	}
	if got := c.Models.Providers["b"].Key.Reveal(); got != "sk-in-a-variable" {
		t.Errorf("key of a variable: got %q", got)
	}
}

func TestProviderOfFileTakesWhatIsKnown(t *testing.T) {
	t.Parallel()
	file := write(t, `
models:
  providers:
    anthropic: {models: {claude-opus-5: {name: Opus, price: {input: 5, cached_input: 0.5, output: 25}}}}
    local: {kind: openai-compatible, base_url: http://10.0.0.5:8000/v1, key_file: /run/key, models: {qwen: {context: 1000, output: 100}}}
`)
	c := load(t, Options{File: file, Environ: []string{"ANTHROPIC_API_KEY=sk-1"}})
	p := c.Models.Providers["anthropic"]
	if p.Kind != KindAnthropic || p.Key.Reveal() != "sk-1" || len(p.Models) != 1 || p.Models["claude-opus-5"].Price.Cached != 0.5 {
		t.Errorf("got %+v", p)
	}
	if c.Models.Default != "anthropic/claude-opus-5" || c.Models.Small != c.Models.Default {
		t.Errorf("got the models %q and %q", c.Models.Default, c.Models.Small)
	}
	if p := c.Models.Providers["local"]; p.KeyFile != "/run/key" || p.Models["qwen"].Output != 100 {
		t.Errorf("got %+v", p)
	}
	if w := strings.Join(c.Warnings(), "\n"); !strings.Contains(w, "models.providers.local is reached without encryption") {
		t.Errorf("warnings: %s", w)
	}
}

func TestEveryFaultOfProvidersIsReported(t *testing.T) {
	t.Parallel()
	file := write(t, `
models:
  model: good/other
  small_model: nobody/m
  providers:
    good: {kind: openai, key: k}
    Bad: {kind: openai, key: k}
    opencode: {kind: openai, key: k}
    kindless: {key: k}
    insecure: {kind: openai-compatible, base_url: "http://api.example.com/v1", key: k, models: {m: {}}}
    credential: {kind: openai-compatible, base_url: "https://user:secret@api.example.com/v1", key: k, models: {m: {}}}
    keyless: {kind: anthropic}
    anthropic: {}
    twice: {kind: google, key: k, key_file: /run/key}
    unset: {kind: google, key_env: NOT_SET_AT_ALL}
    spaces: {kind: google, key: "a b"}
    empty: {kind: openai-compatible, base_url: "https://api.example.com/v1", key: k}
    odd: {kind: openai, key: k, models: {"a b": {}, m: {context: -1, price: {output: -2}}}}
`)
	got := faults(t, Options{File: file})
	for variable, problem := range map[string]string{
		"BERTH_MODEL":                                "PROVIDER/MODEL",
		"BERTH_SMALL_MODEL":                          "PROVIDER/MODEL",
		"models.providers.Bad":                       "small letters",
		"models.providers.opencode":                  "OpenCode's own",
		"models.providers.kindless.kind":             "one of",
		"models.providers.insecure.base_url":         "private networks",
		"models.providers.credential.base_url":       "without user",
		"models.providers.keyless.key":               "key_file",
		"models.providers.anthropic.key":             "ANTHROPIC_API_KEY",
		"models.providers.twice.key":                 "once",
		"models.providers.unset.key_env":             "not set",
		"models.providers.spaces.key":                "visible",
		"models.providers.empty.models":              "must name",
		"models.providers.odd.models.a b":            "name of a model",
		"models.providers.odd.models.m.context":      "between",
		"models.providers.odd.models.m.price.output": "price",
	} {
		if f, found := got[variable]; !found || !strings.Contains(f.Problem, problem) {
			t.Errorf("%s: got %q, want a fault with %q", variable, f.Problem, problem)
		}
	}
	for _, f := range got {
		if strings.Contains(f.String(), "secret") || strings.Contains(f.String(), `"a b"`) && strings.Contains(f.Variable, "key") {
			t.Errorf("a secret is shown: %s", f)
		}
	}
}
