package config

import (
	"cmp"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"berth/internal/session"
	"berth/internal/usage"
)

// Kinds of APIs of models.
const (
	KindOpenAICompatible = "openai-compatible"
	KindOpenAI           = "openai"
	KindAnthropic        = "anthropic"
	KindGoogle           = "google"
)

// ModelProvider is a service with models, under "models.providers" in the configuration file by its name.
type ModelProvider struct {
	Kind    string           `yaml:"kind"`     // empty: the name, if that is a kind
	BaseURL string           `yaml:"base_url"` // with the version in its path; empty: the kind's own
	Key     session.Secret   `yaml:"key,omitempty"`
	KeyFile string           `yaml:"key_file,omitempty"` // read again when it changes
	KeyEnv  string           `yaml:"key_env,omitempty"`  // variable of Berth's environment
	Models  map[string]Model `yaml:"models"`             // that sessions may use, by their names at the provider; empty: a few of the kind

	ServerTools bool     `yaml:"server_tools"`         // whether the provider may run tools itself
	RemoteURLs  bool     `yaml:"remote_urls"`          // whether the provider may fetch addresses in requests
	Parameters  []string `yaml:"parameters,omitempty"` // further members of requests
}

// Model is what is known of a model.
type Model struct {
	Name      string      `yaml:"name,omitempty"`    // for people
	Context   int64       `yaml:"context,omitempty"` // tokens of a conversation
	Output    int64       `yaml:"output,omitempty"`  // tokens of an answer
	Images    bool        `yaml:"images,omitempty"`
	Reasoning bool        `yaml:"reasoning,omitempty"`
	Price     usage.Price `yaml:"price,omitempty"`
}

// knownProvider is a provider of which a key is enough.
type knownProvider struct {
	kind, variable, baseURL string
	model, small            string // defaults
	models                  map[string]Model
}

// knownProviders are in the order in which the first one with a key gives the default model. Their models are some that OpenCode 1.18
// knows; prices are in US dollars, as it has them.
func knownProviders() []knownProvider {
	return []knownProvider{
		{
			kind: KindAnthropic, variable: "ANTHROPIC_API_KEY", baseURL: "https://api.anthropic.com/v1",
			model: "claude-sonnet-5", small: "claude-haiku-4-5",
			models: map[string]Model{
				"claude-opus-5-5":  {Context: 1_000_000, Output: 128_000, Price: usage.Price{Input: 4, Cached: 0.2, Output: 20}},
				"claude-sonnet-5":  {Context: 1_000_000, Output: 128_000, Price: usage.Price{Input: 2, Cached: 0.2, Output: 10}},
				"claude-haiku-4-5": {Context: 200_000, Output: 64_000, Price: usage.Price{Input: 1, Cached: 0.1, Output: 5}},
			},
		},
		{
			kind: KindOpenAI, variable: "OPENAI_API_KEY", baseURL: "https://api.openai.com/v1",
			model: "gpt-6-sol", small: "gpt-6-luna",
			models: map[string]Model{
				"gpt-6-astra": {Context: 1_050_000, Output: 128_000, Price: usage.Price{Input: 10, Cached: 1, Output: 50}},
				"gpt-6-sol":   {Context: 1_050_000, Output: 128_000, Price: usage.Price{Input: 2, Cached: 0.2, Output: 10}},
				"gpt-6-luna":  {Context: 1_050_000, Output: 128_000, Price: usage.Price{Input: 0.1, Cached: 0.01, Output: 0.5}},
			},
		},
		{
			kind: KindGoogle, variable: "GEMINI_API_KEY", baseURL: "https://generativelanguage.googleapis.com/v1beta",
			model: "gemini-3.1-pro-preview", small: "gemini-3.8-flash",
			models: map[string]Model{
				"gemini-3.1-pro-preview": {Context: 1_048_576, Output: 65_536, Price: usage.Price{Input: 2, Cached: 0.2, Output: 12}},
				"gemini-3.8-flash":       {Context: 1_048_576, Output: 65_536, Price: usage.Price{Input: 0.75, Cached: 0.075, Output: 3.75}},
			},
		},
	}
}

// resolveModels fills in what the kinds know, takes the keys of the environment, and adds the providers that have a key there alone.
func (m *Models) resolveModels(environ map[string]string) []Fault {
	providers := maps.Clone(m.Providers)
	if providers == nil {
		providers = map[string]ModelProvider{}
	}
	keys := map[string]session.Secret{KindAnthropic: m.AnthropicKey, KindOpenAI: m.OpenAIKey, KindGoogle: m.GoogleKey}
	var faults []Fault
	for name, p := range providers {
		if given := p.KeyEnv; given != "" && p.Key == "" {
			if p.Key = session.Secret(environ[given]); p.Key == "" {
				faults = append(faults, Fault{Variable: "models.providers." + name + ".key_env", Value: given, Problem: "is not set in the environment"})
			}
		}
		providers[name] = p
	}
	for _, known := range knownProviders() {
		p, found := providers[known.kind]
		if !found && keys[known.kind] == "" {
			continue
		}
		p.Kind = cmp.Or(p.Kind, known.kind)
		if p.Kind == known.kind && p.Key == "" && p.KeyFile == "" && p.KeyEnv == "" && p.BaseURL == "" {
			p.Key = keys[known.kind]
		}
		providers[known.kind] = p
	}
	for name, p := range providers {
		for _, known := range knownProviders() {
			if p.Kind == known.kind {
				p.BaseURL = cmp.Or(p.BaseURL, known.baseURL)
				if len(p.Models) == 0 {
					p.Models = maps.Clone(known.models)
				}
			}
		}
		providers[name] = p
	}
	if len(providers) > 0 {
		m.Providers = providers
		m.resolveDefaults()
	}
	return faults
}

// resolveDefaults chooses the default models.
func (m *Models) resolveDefaults() {
	first := func(name string) string {
		if models := slices.Sorted(maps.Keys(m.Providers[name].Models)); len(models) > 0 {
			return models[0]
		}
		return ""
	}
	for _, known := range knownProviders() {
		if p := m.Providers[known.kind]; m.Default == "" && has(p, known.model) {
			m.Default = known.kind + "/" + known.model
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.Providers)) {
		if m.Default == "" && first(name) != "" {
			m.Default = name + "/" + first(name)
		}
	}
	name, _, _ := strings.Cut(m.Default, "/")
	for _, known := range knownProviders() {
		if m.Small == "" && known.kind == name && has(m.Providers[name], known.small) {
			m.Small = name + "/" + known.small
		}
	}
	// A model that OpenCode chooses may be none of the allowed ones.
	m.Small = cmp.Or(m.Small, m.Default)
}

func has(p ModelProvider, model string) bool {
	_, found := p.Models[model]
	return found
}

// providerName is the name of a provider: it is a part of paths, and of model names.
var providerName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

func (v *checker) models(m Models) {
	for _, name := range slices.Sorted(maps.Keys(m.Providers)) {
		v.provider(name, m.Providers[name])
	}
	for _, d := range []struct{ variable, value string }{{"BERTH_MODEL", m.Default}, {"BERTH_SMALL_MODEL", m.Small}} {
		if d.value == "" {
			continue
		}
		name, model, _ := strings.Cut(d.value, "/")
		v.that(has(m.Providers[name], model), d.variable, d.value, "must be PROVIDER/MODEL, one of the models of models.providers")
	}
}

func (v *checker) provider(name string, p ModelProvider) {
	at := "models.providers." + name
	v.that(providerName.MatchString(name) && name != "opencode", at, "", "must be named with small letters, digits, - and _, and not opencode, which is OpenCode's own")
	oneOf(v, at+".kind", p.Kind, KindOpenAICompatible, KindOpenAI, KindAnthropic, KindGoogle)
	v.that(isModelURL(p.BaseURL), at+".base_url", redactedURL(p.BaseURL),
		"must be like https://api.example.com/v1, without user, query and fragment; http is for private networks and loopback hosts only")
	sources := 0
	for _, given := range []bool{p.Key != "" && p.KeyEnv == "", p.KeyFile != "", p.KeyEnv != ""} {
		if given {
			sources++
		}
	}
	v.that(sources == 1, at+".key", "", "must be given once: key, key_file or key_env%s", keyVariable(name, p))
	v.key(at+".key", p.Key)
	v.that(len(p.Models) > 0, at+".models", "", "must name the models that sessions may use")
	for _, model := range slices.Sorted(maps.Keys(p.Models)) {
		v.model(at+".models."+model, model, p.Models[model])
	}
}

// keyVariable says which variable has the key of a provider that is known.
func keyVariable(name string, p ModelProvider) string {
	for _, known := range knownProviders() {
		if known.kind == name && known.kind == p.Kind && known.baseURL == p.BaseURL {
			return ", or the variable " + known.variable
		}
	}
	return ""
}

func (v *checker) model(at, id string, m Model) {
	v.that(id != "" && visible(id) && len(id) <= 200, at, "", "must be the name of a model at the provider")
	const most = 1 << 30
	between(v, at+".context", m.Context, 0, most)
	between(v, at+".output", m.Output, 0, most)
	for _, price := range []struct {
		name  string
		value float64
	}{{"input", m.Price.Input}, {"cached_input", m.Price.Cached}, {"output", m.Price.Output}} {
		v.that(price.value >= 0 && price.value <= 1e6, at+".price."+price.name, price.value, "must be a price per million tokens, between 0 and 1000000")
	}
}

// isModelURL reports whether a key may be sent to a URL.
func isModelURL(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && isPrivate(u.Hostname())
}

// isPrivate reports whether a host is on a network of the operator's own: by its address, or by a name that the public DNS does not have.
func isPrivate(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast()
	}
	if !strings.Contains(host, ".") {
		return true
	}
	return slices.ContainsFunc([]string{".localhost", ".local", ".internal", ".lan", ".home.arpa"}, func(suffix string) bool { return strings.HasSuffix(host, suffix) })
}

// key checks what is sent as a key, if there is one.
func (v *checker) key(at string, s session.Secret) {
	v.that(s == "" || visible(s.Reveal()), at, s, "must be of visible ASCII characters without spaces")
	v.that(s == "" || s.Reveal() != s.String(), at, s, "is what Berth shows in place of a secret: write the secret itself, or use a file")
}

// redactedURL is a URL to show; empty if it has a user, who may be a token, or cannot be read.
func redactedURL(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.User != nil {
		return ""
	}
	return u.String()
}

func (m Models) warnings(warn func(weak bool, format string, args ...any)) {
	for _, name := range slices.Sorted(maps.Keys(m.Providers)) {
		p := m.Providers[name]
		u, err := url.Parse(p.BaseURL)
		warn(err == nil && u.Scheme == "http" && !loopback(net.JoinHostPort(u.Hostname(), "0")),
			"models.providers.%s is reached without encryption: others on that network can read its key and all conversations", name)
		warn(p.ServerTools, "models.providers.%s.server_tools lets sessions reach addresses through the provider that their own list does not have", name)
		warn(p.RemoteURLs, "models.providers.%s.remote_urls lets sessions reach addresses through the provider that their own list does not have", name)
	}
}
