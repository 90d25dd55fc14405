package harness

import (
	"os"
	"testing"

	"berth/internal/config"
	"berth/internal/session"
)

const imageVariable = "BERTH_TEST_OPENCODE_IMAGE"

// OpenCodeImage returns the name of the session image on the test engine. It skips the test when BERTH_TEST_OPENCODE_IMAGE is not
// set, and fails it instead when BERTH_TEST_REQUIRE=1.
func OpenCodeImage(t testing.TB) string {
	t.Helper()
	image := os.Getenv(imageVariable)
	if image == "" {
		const why = "needs the session image: set " + imageVariable + " to its name"
		if os.Getenv(requireVariable) == "1" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	return image
}

// NewOpenCode is like [New] with sessions of the real OpenCode, whose agent asks the scripted model by way of the gateway.
func NewOpenCode(t testing.TB) *Env {
	t.Helper()
	image := OpenCodeImage(t)
	w := New(t)
	profile := config.Default().Profiles["opencode"]
	profile.Image = image
	w.Configure(map[string]any{
		"profiles": map[string]session.Profile{"opencode": profile},
		"models": map[string]any{"model": "scripted/m1", "small_model": "scripted/m1", "providers": map[string]any{"scripted": map[string]any{
			"kind": "openai-compatible", "base_url": StartModel(t), "key": ModelKey, "models": map[string]any{
				"m1": map[string]any{"name": "Model One", "context": 100_000, "output": 8000},
			},
		}}},
	})
	return w
}
