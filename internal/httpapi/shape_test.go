package httpapi_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"berth/internal/lifecycle"
	"berth/internal/session"
)

// narrowing is a gateway that holds sessions to what they reach.
type narrowing struct{}

func (narrowing) Egress(s session.Session, p session.Profile) (session.EgressMode, []string) {
	return p.Narrowed(s.Shape, nil)
}

func (narrowing) Environment(context.Context, session.Session, session.Profile, session.Secret) (map[string]string, error) {
	return map[string]string{}, nil
}

func TestCreateWithAShape(t *testing.T) {
	t.Parallel()
	w := newFixture(t, func(o *lifecycle.Options) { o.Gateway = narrowing{} })
	made := w.call(http.MethodPost, "/sessions", adminToken, `{"memory":"512m","cpus":0.5,"pids":80,"env":{"API_KEY":"hunter2"},`+
		`"repository":"https://git.example/team/app.git","ref":"main","egress":"listed","egress_allow":["packages"]}`)
	if made.status != http.StatusCreated {
		t.Fatalf("got %d: %s", made.status, made.body)
	}
	var got struct {
		ID session.ID `json:"session_id"`
	}
	if err := json.Unmarshal(made.body, &got); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/sessions/" + string(got.ID), "/sessions"} {
		shown := string(w.call(http.MethodGet, path, adminToken, "").body)
		want := `"shape":{"memory":"512m","cpus":0.5,"pids":80,"env":["API_KEY"],"repository":"https://git.example/team/app.git","ref":"main",` +
			`"egress":"listed","egress_allow":["packages"]}`
		if !strings.Contains(shown, want) || strings.Contains(shown, "hunter2") {
			t.Errorf("%s: got %s, want %s and no values", path, shown, want)
		}
	}
	if strings.Contains(string(made.body), "hunter2") {
		t.Errorf("the value is in %s", made.body)
	}
}

func TestCreateWithAnImpossibleShape(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	for _, body := range []string{
		`{"memory":"much"}`, `{"memory":"100g"}`, `{"memory":-1}`, `{"cpus":-1}`, `{"cpus":"2"}`, `{"pids":1}`, `{"egress":"open"}`, `{"egress":"all"}`,
		`{"env":{"LD_PRELOAD":"hunter2"}}`, `{"env":{"A":1}}`, `{"repository":"ext::hunter2"}`, `{"ref":"main"}`, `{"repository":"https://a.example/b","ref":"-x"}`,
		`{"egress_allow":["forges"]}`,
	} {
		a := w.call(http.MethodPost, "/sessions", adminToken, body)
		if a.status != http.StatusUnprocessableEntity || strings.Contains(string(a.body), "hunter2") {
			t.Errorf("%s: got %d %s, want it refused without its values", body, a.status, a.body)
		}
	}
}
