package e2e_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"berth/internal/dockertest"
	"berth/internal/gateway"
	"berth/test/harness"
)

// A session's agent uses the operator's model, whose key is nowhere in the container.
func TestAgentUsesTheOperatorsModel(t *testing.T) {
	t.Parallel()
	w := harness.NewOpenCode(t)
	w.Vars["SESSION_START_TIMEOUT"], w.Vars["HTTP_READ_TIMEOUT"] = "180", "120" // on a machine that is busy with other tests
	w.StartServe()
	id, token := w.Create(`{"owner":"alice"}`)

	a := w.Call(http.MethodPost, "/s/"+id+"/session", token, `{}`)
	var conversation struct{ ID string }
	harness.Must(t, json.Unmarshal(a.Body, &conversation))
	a = w.Call(http.MethodPost, "/s/"+id+"/session/"+conversation.ID+"/message", token,
		`{"parts":[{"type":"text","text":"`+harness.ModelRuns+`echo six times seven is $((6*7)) | tee answer.txt"}]}`)
	if a.Status != http.StatusOK || !strings.Contains(string(a.Body), harness.ModelAnswers+"six times seven is 42") {
		t.Fatalf("the agent's answer: %s", a)
	}
	a = w.Call(http.MethodGet, "/s/"+id+"/file/content?path=answer.txt", token, "")
	if !strings.Contains(string(a.Body), "six times seven is 42") {
		t.Errorf("the file that the agent wrote: %s", a)
	}

	a = w.Call(http.MethodGet, "/s/"+id+"/config/providers", token, "")
	if !strings.Contains(string(a.Body), `"m1"`) || strings.Contains(string(a.Body), harness.ModelKey) {
		t.Errorf("the providers of the session: %s", a)
	}
	got, err := dockertest.Client(t).ContainerInspect(t.Context(), w.ContainerOf(id), client.ContainerInspectOptions{})
	harness.Must(t, err)
	seen := string(got.Raw)
	if strings.Contains(seen, harness.ModelKey) || !strings.Contains(seen, gateway.TokenVariable+"=") {
		t.Errorf("the container's environment: %q", got.Container.Config.Env)
	}
}
