package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"berth/internal/dockertest"
	"berth/internal/gateway"
	"berth/test/harness"
)

// A session's agent uses the operator's model, whose key is nowhere in the container, and reaches nothing that is not on its list.
func TestAgentUsesTheOperatorsModelAndItsListOnly(t *testing.T) {
	t.Parallel()
	w := &fixture{harness.NewOpenCode(t)}
	w.Vars["SESSION_START_TIMEOUT"], w.Vars["HTTP_READ_TIMEOUT"] = "180", "120" // on a machine that is busy with other tests
	w.StartServe()
	id, token := w.Create(`{"owner":"alice"}`)
	base := "/s/" + id
	// No subtest is parallel: the container is one, and its last test ends what it may do.
	t.Run("a turn", func(t *testing.T) { (&fixture{w.In(t)}).agentRuns(t, base, token) })
	t.Run("no key", func(t *testing.T) { (&fixture{w.In(t)}).noKey(t, id, token) })
	t.Run("usage", func(t *testing.T) { (&fixture{w.In(t)}).usageIsCounted(t, id, token) })
	t.Run("the list", func(t *testing.T) { (&fixture{w.In(t)}).listOnly(t, id, token) })
}

// agentRuns has the agent run a command by way of the model.
func (w *fixture) agentRuns(t *testing.T, base, token string) {
	t.Helper()
	conversation := w.Call(http.MethodPost, base+"/session", token, `{}`).Field("id")
	a := w.Call(http.MethodPost, base+"/session/"+conversation+"/message", token,
		`{"parts":[{"type":"text","text":"`+harness.ModelRuns+`echo six times seven is $((6*7)) | tee answer.txt"}]}`)
	if a.Status != http.StatusOK || !strings.Contains(string(a.Body), harness.ModelAnswers+"six times seven is 42") {
		t.Fatalf("the agent's answer: %s", a)
	}
	a = w.Call(http.MethodGet, base+"/file/content?path=answer.txt", token, "")
	if !strings.Contains(string(a.Body), "six times seven is 42") {
		t.Errorf("the file that the agent wrote: %s", a)
	}
}

// noKey looks for the operator's key wherever a session can look, and where the engine tells.
func (w *fixture) noKey(t *testing.T, id, token string) {
	t.Helper()
	base := "/s/" + id
	a := w.Call(http.MethodGet, base+"/config/providers", token, "")
	if !strings.Contains(string(a.Body), `"m1"`) || strings.Contains(string(a.Body), harness.ModelKey) {
		t.Errorf("the providers of the session: %s", a)
	}
	got, err := dockertest.Client(t).ContainerInspect(t.Context(), w.ContainerOf(id), client.ContainerInspectOptions{})
	harness.Must(t, err)
	if seen := string(got.Raw); strings.Contains(seen, harness.ModelKey) || !strings.Contains(seen, gateway.TokenVariable+"=") {
		t.Errorf("the container's environment: %q", got.Container.Config.Env)
	}
	// The pattern does not find itself: the key is there in no other spelling.
	pattern := harness.ModelKey[:1] + "[" + harness.ModelKey[1:2] + "]" + harness.ModelKey[2:]
	said := w.runs(t, base, token, `grep -alr -- '`+pattern+`' /proc/*/environ /proc/*/cmdline /workspace /home /tmp /etc /run 2>/dev/null; `+
		`pid=$(pgrep -o opencode || echo 1); while read -r range _; do dd if=/proc/$pid/mem bs=4096 skip=$((0x${range%-*}/4096)) `+
		`count=$(((0x${range#*-}-0x${range%-*})/4096)) 2>/dev/null; done < <(grep ' rw' /proc/$pid/maps) | grep -ac -- '`+pattern+`'; echo searched`)
	if !strings.Contains(said, "searched") || !strings.Contains(said, "0\nsearched") {
		t.Errorf("the key in the container: %s", said)
	}
}

// usageIsCounted compares what Berth has counted with what the model said.
func (w *fixture) usageIsCounted(t *testing.T, id, token string) {
	t.Helper()
	const want = `"rows":[{"name":"scripted/m1","calls":3,"input_tokens":30,"cached_input_tokens":0,"output_tokens":30,`
	harness.Eventually(t, 30*time.Second, "the turn's three calls are counted", func() error { // the title may come late
		if a := w.Call(http.MethodGet, "/sessions/"+id+"/usage?by=model", token, ""); !strings.Contains(string(a.Body), want) {
			return fmt.Errorf("the usage is %s", a)
		}
		return nil
	})
}

// listOnly tries the ways out of the container.
func (w *fixture) listOnly(t *testing.T, id, token string) {
	t.Helper()
	registry := "proxy.golang.org"
	if out, err := exec.CommandContext(t.Context(), "go", "env", "GOPROXY").Output(); err == nil { // on the list, and reached from here
		first, _, _ := strings.Cut(strings.TrimSpace(string(out)), ",")
		if u, err := url.Parse(first); err == nil && u.Host != "" {
			registry = u.Hostname()
		}
	}
	script := `at() { timeout 5 "$@" 2>&1 | tail -n 1; }
		gateway=${` + gateway.URLVariable + `#http://}; host=${gateway%:*}; port=${gateway#*:}
		ask() { timeout 5 bash -c "exec 3<>/dev/tcp/$host/$port; printf '%b' '$1' >&3; head -n 1 <&3"; }
		echo "1 $(getent ahostsv4 example.com || echo no name)"
		echo "2 $(at git -c http.proxy= ls-remote https://example.com/x)"
		echo "3 $(at git ls-remote https://example.com/x)"
		echo "4 $(ask 'GET /models/scripted/v1/models HTTP/1.1\r\nHost: x\r\n\r\n')"
		echo "5 $(ask 'GET /models/scripted/v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer forged\r\n\r\n')"
		echo "6 $(ask 'CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n')"
		for at in 198.18.0.1/80 169.254.169.254/80 $host/22 $host/2376; do echo "7 $at $(timeout 3 bash -c "</dev/tcp/$at" 2>&1 && echo open)"; done
		echo "8 $(getent ahostsv4 REGISTRY | head -n 1)"
		echo "9 $(at git -c http.sslVerify=false -c http.proxy= ls-remote https://REGISTRY/x)"
		echo "10 $(at git -c http.sslVerify=false ls-remote https://REGISTRY/x)"`
	said := w.runs(t, "/s/"+id, token, strings.ReplaceAll(script, "REGISTRY", registry))
	for _, want := range []string{
		"1 no name", "2 fatal: unable to access 'https://example.com/x/': Could not resolve host: example.com",
		"3 fatal: unable to access 'https://example.com/x/': CONNECT tunnel failed, response 403",
		"4 HTTP/1.1 401 Unauthorized", "5 HTTP/1.1 401 Unauthorized", "6 HTTP/1.1 407 Proxy Authentication Required",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("the container did not say %q", want)
		}
	}
	// The registry answers, and it has no repositories.
	for _, line := range []string{"9", "10"} {
		answered := regexp.MustCompile(`(?m)^` + line + ` fatal: .*(not found|returned error: 4\d\d)$`)
		if !answered.MatchString(said) {
			t.Errorf("%s does not answer the container, by way %s", registry, line)
		}
	}
	if strings.Contains(said, "open") {
		t.Error("a connection around the gateway was opened")
	}
	if t.Failed() {
		t.Logf("it said %s", said)
	}
	a := w.Call(http.MethodGet, "/sessions/"+id+"/events", w.AdminToken(), "")
	if !strings.Contains(string(a.Body), `"blocked"`) || !strings.Contains(string(a.Body), "example.com") {
		t.Errorf("the timeline does not tell of a refusal: %s", a)
	}
}

// runs returns what a script prints in the container.
func (w *fixture) runs(t *testing.T, base, token, script string) string {
	t.Helper()
	var answer struct {
		Parts []struct{ State struct{ Output string } }
	}
	said := w.shell(t, base, token, "echo "+base64.StdEncoding.EncodeToString([]byte(script))+" | base64 -d | bash")
	harness.Must(t, json.Unmarshal([]byte(said), &answer))
	said = ""
	for _, part := range answer.Parts {
		said += part.State.Output
	}
	return said
}
