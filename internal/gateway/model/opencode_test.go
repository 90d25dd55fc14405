package model_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"berth/internal/gateway/model"
	"berth/internal/modeltest"
	"berth/internal/waittest"
)

// server is an OpenCode server with the operator's models.
type server struct {
	t   *testing.T
	url string
}

func startOpenCode(t *testing.T, configuration []byte, workspace map[string]string) *server {
	t.Helper()
	program := os.Getenv("BERTH_TEST_OPENCODE")
	if program == "" {
		if os.Getenv("BERTH_TEST_REQUIRE") != "" {
			t.Fatal("needs OpenCode's program: set BERTH_TEST_OPENCODE to its path")
		}
		t.Skip("needs OpenCode's program: set BERTH_TEST_OPENCODE to its path")
	}
	home, dir := t.TempDir(), t.TempDir()
	for name, text := range workspace {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), program, "serve", "--hostname", "127.0.0.1", "--port", "0")
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "OPENCODE_CONFIG_CONTENT=" + string(configuration), "BERTH_GATEWAY_TOKEN=the-sessions-token",
		"OPENCODE_DISABLE_MODELS_FETCH=1", "OPENCODE_DISABLE_AUTOUPDATE=1", "OPENCODE_DISABLE_LSP_DOWNLOAD=1", "OPENCODE_SERVER_PASSWORD=password",
	}
	said := &output{}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	s := &server{t: t}
	waittest.Until(t, "OpenCode serves", func() error {
		_, rest, found := strings.Cut(said.String(), "http://127.0.0.1:")
		if !found {
			return fmt.Errorf("it says %q", said.String())
		}
		port, _, _ := strings.Cut(rest, "\n")
		s.url = "http://127.0.0.1:" + strings.TrimSpace(port)
		var health struct{ Healthy bool }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.call(ctx, "/global/health", nil, &health); err != nil || !health.Healthy {
			return errors.Join(err, errors.New("not healthy"))
		}
		return nil
	})
	return s
}

// output is what a process writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func (s *server) call(ctx context.Context, path string, body, into any) error {
	method, sent := http.MethodGet, []byte(nil)
	if body != nil {
		method = http.MethodPost
		sent, _ = json.Marshal(body)
	}
	r, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader(sent))
	if err != nil {
		return err
	}
	r.SetBasicAuth("opencode", "password")
	r.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s %s", path, res.Status, text)
	}
	return json.Unmarshal(text, into)
}

// turn is the answer of the last message of one turn of the agent.
type turn struct {
	Info struct {
		Error      json.RawMessage
		ModelID    string
		ProviderID string
	}
	Parts []struct{ Type, Text string }
}

func (u turn) text() string {
	var text string
	for _, p := range u.Parts {
		text += p.Text
	}
	return text
}

// turn has the agent run a command. An empty provider is the default model.
func (s *server) turn(provider, id, prompt string) turn {
	s.t.Helper()
	var conversation struct{ ID string }
	ctx, cancel := context.WithTimeout(s.t.Context(), 90*time.Second)
	defer cancel()
	if err := s.call(ctx, "/session", map[string]any{}, &conversation); err != nil {
		s.t.Fatal(err)
	}
	body := map[string]any{"parts": []any{map[string]any{"type": "text", "text": prompt}}}
	if provider != "" {
		body["model"] = map[string]any{"providerID": provider, "modelID": id}
	}
	var u turn
	if err := s.call(ctx, "/session/"+conversation.ID+"/message", body, &u); err != nil {
		s.t.Fatal(err)
	}
	return u
}

func TestOpenCodeWorksWithEachKind(t *testing.T) {
	t.Parallel()
	e := setup(t, nil)
	configuration, err := model.Configuration([]byte(`{"autoupdate":false,"share":"disabled","disabled_providers":["opencode"]}`), e.url, "BERTH_GATEWAY_TOKEN",
		model.Settings{Providers: e.settings, Default: "anthropic/m", Small: "openai-compatible/small"})
	if err != nil {
		t.Fatal(err)
	}
	s := startOpenCode(t, configuration, nil)
	for kind := range kinds {
		if u := s.turn(string(kind), "m", modeltest.Runs+"echo from-"+string(kind)); !strings.Contains(u.text(), modeltest.Answers+"from-"+string(kind)) {
			t.Errorf("%s: got %q, error %s", kind, u.text(), u.Info.Error)
		}
	}
	if u := s.turn("", "", "hello"); u.Info.ProviderID != "anthropic" || u.Info.ModelID != "m" {
		t.Errorf("default model: got %s/%s", u.Info.ProviderID, u.Info.ModelID)
	}
	small := false
	for _, call := range e.providers[model.OpenAICompatible].Calls() {
		small = small || call.Model == "small"
	}
	if !small {
		t.Error("titles are not asked of the small model")
	}
	for _, result := range e.meter.settled() {
		if result.Estimated || result.Failed {
			t.Errorf("a call has no count of its provider: %+v", result)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.refused) > 0 {
		t.Errorf("calls of OpenCode are refused by the rules %v", e.refused)
	}
}

func TestOpenCodeHasAllowedModelsAndUsersOwn(t *testing.T) {
	t.Parallel()
	e := setup(t, nil)
	configuration, err := model.Configuration([]byte(`{"disabled_providers":["opencode"]}`), e.url, "BERTH_GATEWAY_TOKEN", model.Settings{Providers: e.settings})
	if err != nil {
		t.Fatal(err)
	}
	s := startOpenCode(t, configuration, map[string]string{"opencode.json": `{"provider":{
		"mine":{"npm":"@ai-sdk/openai-compatible","options":{"baseURL":"http://127.0.0.1:9/v1","apiKey":"k"},"models":{"z":{}}},
		"anthropic":{"options":{"baseURL":"http://127.0.0.1:9/v1","apiKey":"users-own"}}}}`})
	var known struct {
		Providers []struct {
			ID      string
			Options struct{ BaseURL, APIKey string }
			Models  map[string]any
		}
	}
	if err := s.call(t.Context(), "/config/providers", nil, &known); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"mine": 1, "anthropic": 2, "openai": 2, "google": 2, "openai-compatible": 2}
	for _, p := range known.Providers {
		if want[p.ID] != len(p.Models) {
			t.Errorf("%s has %d models, want %d", p.ID, len(p.Models), want[p.ID])
		}
		if p.ID != "mine" && !strings.HasPrefix(p.Options.BaseURL, e.url) {
			t.Errorf("%s is at %s", p.ID, p.Options.BaseURL)
		}
		delete(want, p.ID)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}
