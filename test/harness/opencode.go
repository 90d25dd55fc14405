package harness

import (
	"fmt"
	"maps"
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

// NewOpenCode is like [New] with sessions of the real OpenCode, whose agent asks the scripted model.
func NewOpenCode(t testing.TB) *Env {
	t.Helper()
	image := OpenCodeImage(t)
	w := New(t)
	profile := config.Default().Profiles["opencode"]
	profile.Image, profile.Env = image, maps.Clone(profile.Env)
	profile.Env["OPENCODE_CONFIG_CONTENT"] = fmt.Sprintf(`{"autoupdate":false,"share":"disabled","enabled_providers":["scripted"],
		"model":"scripted/m1","small_model":"scripted/m1","provider":{"scripted":{"npm":"@ai-sdk/openai-compatible","name":"Scripted",
		"options":{"baseURL":%q,"apiKey":"none"},"models":{"m1":{"name":"Model One","tool_call":true,"limit":{"context":100000,"output":8000}}}}}}`, StartModel(t))
	w.Profiles(map[string]session.Profile{"opencode": profile})
	return w
}
