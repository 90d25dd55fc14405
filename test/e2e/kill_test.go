package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"berth/internal/dockertest"
	"berth/test/harness"
)

// The calls of the engine that operations are made of.
const (
	makesNetwork     = "POST /networks/create"
	makesContainer   = "POST /containers/create"
	startsContainer  = "POST /containers/*/start"
	stopsContainer   = "POST /containers/*/stop"
	removesContainer = "DELETE /containers/*"
	removesVolume    = "DELETE /volumes/*"
)

// operation is what the process is in the middle of when it is killed.
type operation struct {
	name    string
	profile string        // of the session; "": the stub that behaves
	prepare func(*victim) // brings a running session to where the operation begins
	method  string        // of its request
	path    string        // of its request, where %s is the session; without one it makes the session
	image   string        // tag of the world's image that it names; see [makeImages]
	calls   []string      // its steps: each is a fault point before the engine has done it, and one after
	ends    string        // status that the next process brings the session to; "": it is gone
}

var operations = []operation{
	{
		name: "create", method: http.MethodPost, path: "/sessions", ends: "running",
		calls: []string{makesNetwork, makesContainer, startsContainer},
	},
	{
		name: "create that fails", profile: "exit", method: http.MethodPost, path: "/sessions", ends: "error",
		calls: []string{makesNetwork, makesContainer, startsContainer, removesContainer},
	},
	{
		name: "start", prepare: (*victim).stop, method: http.MethodPost, path: "/sessions/%s/start", ends: "running",
		calls: []string{startsContainer},
	},
	{
		name: "start without a container", prepare: (*victim).loseContainer, method: http.MethodPost, path: "/sessions/%s/start", ends: "running",
		calls: []string{makesContainer, startsContainer},
	},
	{
		name: "stop", method: http.MethodPost, path: "/sessions/%s/stop", ends: "stopped",
		calls: []string{stopsContainer},
	},
	{
		name: "restart", method: http.MethodPost, path: "/sessions/%s/restart", ends: "running",
		calls: []string{stopsContainer, startsContainer},
	},
	{
		name: "upgrade", method: http.MethodPost, path: "/sessions/%s/upgrade", image: "better", ends: "running",
		calls: []string{
			stopsContainer, removesVolume, makesContainer, startsContainer, removesContainer, // the copy
			removesContainer, makesContainer, startsContainer,
		},
	},
	{
		name: "upgrade that fails", method: http.MethodPost, path: "/sessions/%s/upgrade", image: "broken", ends: "running",
		calls: []string{
			stopsContainer, removesVolume, makesContainer, startsContainer, removesContainer, // the copy
			removesContainer, makesContainer, startsContainer,
			removesContainer, removesVolume, makesContainer, startsContainer, removesContainer, // the way back
			makesContainer, startsContainer,
		},
	},
	{
		name: "delete", method: http.MethodDelete, path: "/sessions/%s", ends: "",
		calls: []string{removesContainer, removesVolume, removesVolume},
	},
}

// The process is killed at each step of each operation, before the engine has heard of the step and after it has done it.
// The next process brings the session to where the operation was to lead, and nothing is left that no session owns.
func TestProcessThatIsKilledAtAnyStepOnTheEngine(t *testing.T) {
	t.Parallel()
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			w := stubEnv(t)
			w.Vars["RECONCILE_INTERVAL"] = "1"
			w.Vars["SESSION_STOP_TIMEOUT"] = "2"
			if op.image != "" {
				makeImages(t, w)
			}
			relay := w.NewRelay()
			w.StartServe()

			newVictim(t, w, op).undisturbed(relay)
			for i, call := range op.calls {
				for _, answered := range []bool{false, true} {
					nth := 1
					for _, earlier := range op.calls[:i] {
						if earlier == call {
							nth++
						}
					}
					v := newVictim(t, w, op)
					v.point = fmt.Sprintf("killed at %s, number %d, answered %v", call, nth, answered)
					v.killed(relay, harness.Fault{Call: call, Nth: nth, AfterAnswer: answered})
				}
			}
		})
	}
}

// victim is one session in one operation.
type victim struct {
	*fixture
	t         *testing.T
	op        operation
	point     string // where the process was killed
	key       string // that makes a repeated create harmless
	id, token string
	history   string // what its server remembers
}

func newVictim(t *testing.T, w *fixture, op operation) *victim {
	t.Helper()
	v := &victim{fixture: w, t: t, op: op, point: "undisturbed"}
	if v.creates() {
		w.loseNetwork(t)
		v.key = fmt.Sprintf("key-%d", time.Now().UnixNano())
		return v
	}
	v.id, v.token = w.Create("{}")
	v.remember()
	if op.prepare != nil {
		op.prepare(v)
	}
	return v
}

// loseNetwork removes the network of listed sessions, once serve has made those of its gateway.
func (w *fixture) loseNetwork(t *testing.T) {
	t.Helper()
	api := dockertest.Client(t)
	harness.Eventually(t, 20*time.Second, "serve has made both networks", func() error {
		_, internal := api.NetworkInspect(t.Context(), w.Instance+"-internal", client.NetworkInspectOptions{})
		_, open := api.NetworkInspect(t.Context(), w.Instance, client.NetworkInspectOptions{})
		return errors.Join(internal, open)
	})
	_, err := api.NetworkRemove(t.Context(), w.Instance+"-internal", client.NetworkRemoveOptions{})
	harness.Must(t, err)
}

func (v *victim) creates() bool { return !strings.Contains(v.op.path, "%s") }

// request is the operation's.
func (v *victim) request(ctx context.Context) (harness.Answer, error) {
	path, body, header := v.op.path, "", http.Header{}
	if v.creates() {
		header.Set("Idempotency-Key", v.key)
		body = `{"profile":"` + v.profile() + `"}`
	} else {
		path = fmt.Sprintf(path, v.id)
	}
	if v.op.image != "" {
		body = `{"image":"` + v.Instance + ":" + v.op.image + `"}`
	}
	return v.TryWith(ctx, v.op.method, path, v.AdminToken(), body, header)
}

func (v *victim) profile() string {
	if v.op.profile != "" {
		return v.op.profile
	}
	return "stub"
}

// remember has the session's server write something down.
func (v *victim) remember() {
	v.t.Helper()
	if a := v.Call(http.MethodPost, "/s/"+v.id+"/session", v.token, "{}"); a.Status != http.StatusOK {
		v.t.Fatalf("%s: write into the session: got %s", v.point, a)
	}
	v.history = string(v.Call(http.MethodGet, "/s/"+v.id+"/session", v.token, "").Body)
}

func (v *victim) stop() { v.act("stop") }

func (v *victim) loseContainer() {
	v.t.Helper()
	v.act("stop")
	_, err := dockertest.Client(v.t).ContainerRemove(v.t.Context(), v.ContainerOf(v.id), client.ContainerRemoveOptions{Force: true})
	harness.Must(v.t, err)
}

func (v *victim) act(what string) {
	v.t.Helper()
	if a := v.Call(http.MethodPost, "/sessions/"+v.id+"/"+what, v.AdminToken(), ""); a.Status != http.StatusOK {
		v.t.Fatalf("%s: %s: got %s, want 200", v.point, what, a)
	}
}

// undisturbed shows that the table has every step.
func (v *victim) undisturbed(relay *harness.Relay) {
	v.t.Helper()
	before := len(relay.Calls())
	_, err := v.request(v.t.Context())
	harness.Must(v.t, err)
	if got := relay.Calls()[before:]; !slices.Equal(got, v.op.calls) {
		v.t.Fatalf("got the steps %v, want %v", got, v.op.calls)
	}
	v.isRight()
}

// killed kills the process at a step, starts the next one, and looks at what has become of the session.
func (v *victim) killed(relay *harness.Relay, f harness.Fault) {
	v.t.Helper()
	struck := relay.Kill(v.Serve, f)
	over := make(chan harness.Answer, 1)
	go func() {
		a, _ := v.request(v.t.Context())
		over <- a
	}()
	if a := <-over; a.Status != 0 {
		v.t.Fatalf("%s: got the answer %s, want the process dead", v.point, a)
	}
	<-struck
	v.StartServe()
	v.isRight()
}

// isRight waits until record, container and volumes are as they must be, uses the session, and removes it.
func (v *victim) isRight() {
	v.t.Helper()
	harness.Eventually(v.t, 20*time.Second, v.point+": all is "+v.op.ends, v.isConsistent)
	switch v.op.ends {
	case "running", "stopped":
		if v.creates() { // its client never had an answer, and asks again
			a, err := v.request(v.t.Context())
			if err != nil || a.Status/100 != 2 || a.Field("session_id") != v.id || a.Header.Get("Idempotency-Replayed") != "true" {
				v.t.Fatalf("%s: the repeated create: got %s, %v; want session %s", v.point, a, err, v.id)
			}
			v.token = a.Field("token")
			v.remember()
		}
		if v.op.ends == "running" {
			v.remembers()
		}
		v.act("stop")
		v.act("start")
		v.remembers()
	case "":
		return
	}
	if a := v.Call(http.MethodDelete, "/sessions/"+v.id, v.AdminToken(), ""); a.Status != http.StatusNoContent {
		v.t.Errorf("%s: delete: got %s, want 204", v.point, a)
	}
	v.nothingLeft(v.t)
}

// remembers checks that the session's server has what was written, for the token of before.
func (v *victim) remembers() {
	v.t.Helper()
	if a := v.Call(http.MethodGet, "/s/"+v.id+"/session", v.token, ""); a.Status != http.StatusOK || string(a.Body) != v.history {
		v.t.Errorf("%s: the session has %s, want %s", v.point, a, v.history)
	}
}

// isConsistent compares the one session, if it is to be, with all that this world has on the engine.
func (v *victim) isConsistent() error {
	all, err := v.Sessions(v.t.Context())
	if err != nil {
		return err
	}
	id, name, status := "", "", ""
	for _, s := range all {
		if v.id != "" && s.ID != v.id || s.Operation != nil || len(all) > 1 {
			return fmt.Errorf("got the sessions %+v", all)
		}
		id, name, status = s.ID, s.Name, s.Status
	}
	if status != v.op.ends {
		return fmt.Errorf("the session is %q, want %q", status, v.op.ends)
	}
	containers, volumes, err := v.left()
	if err != nil {
		return err
	}
	wantContainers, wantVolumes := []string{}, 0
	switch v.op.ends {
	case "running":
		wantContainers, wantVolumes = []string{"/" + name + " running"}, 2
	case "stopped":
		wantContainers, wantVolumes = []string{"/" + name + " exited"}, 2
	case "error": // volumes go with a delete alone
		wantVolumes = 2
	}
	if v.op.image != "" {
		wantVolumes++ // the copy of the state
	}
	if !slices.Equal(containers, wantContainers) || len(volumes) != wantVolumes {
		return fmt.Errorf("session %s is %q: got the containers %v and the volumes %v, want %v and %d", id, status, containers, volumes, wantContainers, wantVolumes)
	}
	v.id = id
	return nil
}

// left lists what this world has on the engine: containers with their states, and volumes.
func (v *victim) left() (containers, volumes []string, err error) {
	for _, c := range v.Containers() {
		containers = append(containers, c.Names[0]+" "+string(c.State))
	}
	list, err := dockertest.Client(v.t).VolumeList(v.t.Context(), client.VolumeListOptions{Filters: v.Mine().Add("label", "berth.session")})
	for _, item := range list.Items {
		volumes = append(volumes, item.Name)
	}
	return containers, volumes, err
}
