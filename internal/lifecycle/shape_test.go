package lifecycle_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"berth/internal/lifecycle"
	"berth/internal/runtimetest"
	"berth/internal/session"
	"berth/internal/sessiontest"
)

const gigabyte = session.Bytes(1 << 30)

// shaped returns a fixture in which sessions may be up to 4 GiB, 2 CPUs and 400 processes, and get 1 GiB, 1 CPU and 100.
func shaped(t *testing.T, change ...func(*session.Profile)) *fixture {
	t.Helper()
	return newFixture(t, func(o *lifecycle.Options) {
		o.Limits = session.Limits{Memory: gigabyte, CPUs: session.OneCPU, Processes: 100}
		o.MaxLimits = session.Limits{Memory: 4 * gigabyte, CPUs: 2 * session.OneCPU, Processes: 400}
		o.Gateway = narrowing{}
		p := o.Profiles["opencode"]
		p.ConfigEnv = "SERVER_CONFIG"
		for _, f := range change {
			f(&p)
		}
		o.Profiles = map[string]session.Profile{"opencode": p}
	})
}

// narrowing is a gateway that holds sessions to what they reach.
type narrowing struct{}

func (narrowing) Egress(s session.Session, p session.Profile) (session.EgressMode, []string) {
	return p.Narrowed(s.Shape, nil)
}

func (narrowing) Environment(context.Context, session.Session, session.Profile, session.Secret) (map[string]string, error) {
	return map[string]string{}, nil
}

func spec(t *testing.T, h *fixture, s session.Session) session.Spec {
	t.Helper()
	got, ok := h.Engine.Spec(s.ContainerName)
	if !ok {
		t.Fatalf("there is no container %s", s.ContainerName)
	}
	return got
}

func TestContainerHasTheLimitsAskedFor(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		profile func(*session.Profile)
		asked   session.Limits
		want    session.Limits
	}{
		"none":        {func(*session.Profile) {}, session.Limits{}, session.Limits{Memory: gigabyte, CPUs: session.OneCPU, Processes: 100}},
		"all":         {func(*session.Profile) {}, session.Limits{Memory: 2 * gigabyte, CPUs: session.OneCPU / 2, Processes: 64}, session.Limits{Memory: 2 * gigabyte, CPUs: session.OneCPU / 2, Processes: 64}},
		"the maximum": {func(*session.Profile) {}, session.Limits{Memory: 4 * gigabyte, CPUs: 2 * session.OneCPU, Processes: 400}, session.Limits{Memory: 4 * gigabyte, CPUs: 2 * session.OneCPU, Processes: 400}},
		"profile's":   {func(p *session.Profile) { p.Memory, p.Processes = 3*gigabyte, 300 }, session.Limits{Processes: 80}, session.Limits{Memory: 3 * gigabyte, CPUs: session.OneCPU, Processes: 80}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := shaped(t, row.profile)
			s, _ := h.Make(lifecycle.Request{Shape: session.Shape{Limits: row.asked}})
			if got := spec(t, h, s).Limits; got != row.want || h.LimitsOf(s) != row.want {
				t.Errorf("got %+v, shown %+v, want %+v", got, h.LimitsOf(s), row.want)
			}
		})
	}
}

func TestLimitsAboveTheMaximumAreRefused(t *testing.T) {
	t.Parallel()
	h := shaped(t, func(p *session.Profile) { p.MinMem = gigabyte / 2 })
	for want, asked := range map[string]session.Limits{
		"MAX_SESSION_MEMORY": {Memory: 4*gigabyte + 1},
		"MAX_SESSION_CPUS":   {CPUs: 2*session.OneCPU + 1},
		"MAX_SESSION_PIDS":   {Processes: 401},
		"needs 512m":         {Memory: gigabyte / 4},
		"smallest limit":     {CPUs: 1},
		"too few":            {Processes: 63},
		"negative":           {Memory: -1},
	} {
		_, err := h.Create(t.Context(), lifecycle.Request{Shape: session.Shape{Limits: asked}})
		if session.CodeOf(err) != session.CodeInvalid || !strings.Contains(session.MessageOf(err), want) {
			t.Errorf("%+v: got %v, want it refused with %q", asked, err, want)
		}
	}
}

// Without maxima of their own the defaults are the maxima.
func TestDefaultLimitsAreTheMaximum(t *testing.T) {
	t.Parallel()
	h := newFixture(t, func(o *lifecycle.Options) {
		o.Limits = session.Limits{Memory: gigabyte, CPUs: session.OneCPU, Processes: 100}
	})
	if _, err := h.Create(t.Context(), lifecycle.Request{Shape: session.Shape{Limits: session.Limits{Memory: gigabyte + 1}}}); session.CodeOf(err) != session.CodeInvalid {
		t.Errorf("got %v, want it refused", err)
	}
	h.Make(lifecycle.Request{Shape: session.Shape{Limits: session.Limits{Memory: gigabyte}}})
}

// What was asked for holds across stops, starts and upgrades, in a new process as well; the operator's present maximum comes first.
func TestShapeIsKept(t *testing.T) {
	t.Parallel()
	h := shaped(t)
	s, _ := h.Make(lifecycle.Request{Shape: session.Shape{
		Limits: session.Limits{Memory: 2 * gigabyte, Processes: 200}, Env: session.Variables{"EDITOR": "vi"}, Egress: session.EgressNone,
	}})
	h.Options.MaxLimits.Memory = gigabyte + gigabyte/2
	h.Manager = h.Process()
	for name, act := range map[string]func() error{
		"stop and start": func() error {
			if _, err := h.do(h.Stop, s.ID); err != nil {
				return err
			}
			_, err := h.do(h.Start, s.ID)
			return err
		},
		"upgrade": func() error {
			w, err := h.Upgrade(t.Context(), s.ID, lifecycle.UpgradeRequest{Image: "stub:2"})
			if err == nil {
				_, err = w.Wait(t.Context())
			}
			return err
		},
	} {
		if err := act(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := spec(t, h, s)
		if got.Limits.Memory != gigabyte+gigabyte/2 || got.Limits.Processes != 200 || got.Profile.Env["EDITOR"] != "vi" {
			t.Errorf("%s: got %+v, %v", name, got.Limits, got.Profile.Env)
		}
		if now := h.stored(s.ID); now.Shape.Egress != session.EgressNone || now.Shape.Limits.Memory != 2*gigabyte {
			t.Errorf("%s: the record has %+v", name, now.Shape)
		}
	}
}

func TestEnvironmentOfASession(t *testing.T) {
	t.Parallel()
	h := shaped(t)
	s, _ := h.Make(lifecycle.Request{Shape: session.Shape{Env: session.Variables{"API_KEY": "a=b\nc", "GIT_AUTHOR_NAME": "Ann", "node_env": "x"}}})
	got := spec(t, h, s).Profile.Env
	if got["API_KEY"] != "a=b\nc" || got["GIT_AUTHOR_NAME"] != "Ann" || got["node_env"] != "x" {
		t.Errorf("got %v", got)
	}
	for _, name := range []string{
		"", "1A", "A-B", "A=B", "A B", "Ä", "A\n", strings.Repeat("A", 129), "LD_PRELOAD", "ld_preload", "LD_LIBRARY_PATH", "PATH", "HOME", "BERTH_REPOSITORY",
		"OPENCODE_SERVER_PASSWORD", "OPENCODE_PASSWORD", "OPENCODE_CONFIG_CONTENT", "GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_0", "GIT_DIR", "GIT_SSH_COMMAND",
		"http_proxy", "HTTPS_PROXY", "SERVER_CONFIG",
	} {
		_, err := h.Create(t.Context(), lifecycle.Request{Shape: session.Shape{Env: session.Variables{name: "hunter2"}}})
		if session.CodeOf(err) != session.CodeInvalid {
			t.Errorf("%q: got %v, want it refused", name, err)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the value is in %v", name, err)
		}
	}
	many := session.Variables{}
	for i := range 65 {
		many[fmt.Sprintf("V%d", i)] = ""
	}
	for name, env := range map[string]session.Variables{"many": many, "long": {"A": strings.Repeat("x", 32<<10)}, "zero byte": {"A": "\x00"}} {
		if _, err := h.Create(t.Context(), lifecycle.Request{Shape: session.Shape{Env: env}}); session.CodeOf(err) != session.CodeInvalid {
			t.Errorf("%s: got %v, want it refused", name, err)
		}
	}
}

// A variable that the operator's profile gets later is the operator's.
func TestProfileVariableTakesPrecedence(t *testing.T) {
	t.Parallel()
	h := shaped(t)
	s, _ := h.Make(lifecycle.Request{Shape: session.Shape{Env: session.Variables{"MODE": "mine", "OTHER": "mine"}}})
	if _, err := h.do(h.Stop, s.ID); err != nil {
		t.Fatal(err)
	}
	p := h.Options.Profiles["opencode"]
	p.Env = map[string]string{"MODE": "operator's"}
	h.Options.Profiles = map[string]session.Profile{"opencode": p}
	h.Manager = h.Process()
	if _, err := h.do(h.Start, s.ID); err != nil {
		t.Fatal(err)
	}
	if got := spec(t, h, s).Profile.Env; got["MODE"] != "operator's" || got["OTHER"] != "mine" {
		t.Errorf("got %v", got)
	}
}

func TestSessionMayAskForLessEgress(t *testing.T) {
	t.Parallel()
	h := shaped(t, func(p *session.Profile) { p.EgressAllow = []string{"packages", "forges"} })
	for _, row := range []struct {
		asked session.Shape
		want  string // of the refusal; empty: none
	}{
		{session.Shape{}, ""},
		{session.Shape{Egress: session.EgressNone}, ""},
		{session.Shape{Allow: []string{"forges"}}, ""},
		{session.Shape{Egress: session.EgressListed, Allow: []string{"packages", "forges"}}, ""},
		{session.Shape{Egress: session.EgressOpen}, "one may ask for less"},
		{session.Shape{Egress: "all"}, "is not none, listed or open"},
		{session.Shape{Allow: []string{"packages", "evil.example"}}, `does not allow "evil.example"`},
		{session.Shape{Egress: session.EgressNone, Allow: []string{"packages"}}, "goes with"},
		{session.Shape{Allow: []string{""}}, "not a rule"},
		{session.Shape{Allow: slices.Repeat([]string{"packages"}, 65)}, "too long"},
	} {
		_, err := h.Create(t.Context(), lifecycle.Request{Shape: row.asked})
		if row.want == "" && err != nil || row.want != "" && (session.CodeOf(err) != session.CodeInvalid || !strings.Contains(session.MessageOf(err), row.want)) {
			t.Errorf("%+v: got %v, want %q", row.asked, err, row.want)
		}
	}
}

func TestRepeatedCreateComparesShapes(t *testing.T) {
	t.Parallel()
	h := shaped(t)
	req := lifecycle.Request{IdempotencyKey: "k", Shape: session.Shape{
		Limits: session.Limits{Memory: 2 * gigabyte}, Env: session.Variables{"A": "1"}, Allow: []string{"packages"}, Repository: "https://git.example/x",
	}}
	first, _ := h.Make(req)
	if again, err := h.Create(t.Context(), req); err != nil || again.Session().ID != first.ID {
		t.Fatalf("got %v, want the same session", err)
	}
	for name, change := range map[string]func(*session.Shape){
		"memory":      func(s *session.Shape) { s.Limits.Memory = 0 },
		"environment": func(s *session.Shape) { s.Env = session.Variables{"A": "2"} },
		"egress":      func(s *session.Shape) { s.Allow = nil },
		"repository":  func(s *session.Shape) { s.Repository = "https://git.example/y" },
		"ref":         func(s *session.Shape) { s.Ref = "main" },
	} {
		other := req
		change(&other.Shape)
		if _, err := h.Create(t.Context(), other); session.CodeOf(err) != session.CodeIdempotencyMismatch {
			t.Errorf("%s: got %v, want a mismatch", name, err)
		}
	}
}

func TestImageOffTheListIsRefused(t *testing.T) {
	t.Parallel()
	h := newFixture(t, func(o *lifecycle.Options) { o.Images = nil })
	own := h.Options.Profiles["opencode"].Image
	if _, err := h.Create(t.Context(), lifecycle.Request{Image: "mine:1"}); session.CodeOf(err) != session.CodeInvalid || !strings.Contains(session.MessageOf(err), "ALLOWED_IMAGES") {
		t.Errorf("got %v, want it refused", err)
	}
	s, _ := h.Make(lifecycle.Request{Image: own})
	if _, err := h.Upgrade(t.Context(), s.ID, lifecycle.UpgradeRequest{Image: "mine:1"}); session.CodeOf(err) != session.CodeInvalid || !strings.Contains(session.MessageOf(err), "ALLOWED_IMAGES") {
		t.Errorf("upgrade: got %v, want it refused", err)
	}
	if n := len(h.Engine.Calls(runtimetest.OpCheckImage)); n > 1 {
		t.Errorf("the engine was asked %d times about images, want once about the allowed one", n)
	}
}

// A session that has an image keeps it when the operator takes it off the list: its next start is not a choice.
func TestSessionKeepsImageThatLeavesTheList(t *testing.T) {
	t.Parallel()
	h := newFixture(t, func(o *lifecycle.Options) { o.Images = sessiontest.Images(t, "mine:*") })
	s, _ := h.Make(lifecycle.Request{Image: "mine:1"})
	if _, err := h.do(h.Stop, s.ID); err != nil {
		t.Fatal(err)
	}
	h.Options.Images = nil
	h.Manager = h.Process()
	if got, err := h.do(h.Start, s.ID); err != nil || got.Image != "mine:1" {
		t.Errorf("got %s, %v; want it running with its image", got.Image, err)
	}
}
