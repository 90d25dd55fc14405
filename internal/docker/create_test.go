package docker_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"berth/internal/docker"
	"berth/internal/session"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
)

func TestCreateSendsTheSpecAndNothingElse(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.41")
	made, err := e.open(nil).Create(t.Context(), unitSpec("one"))
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	body := e.body()
	for name, want := range map[string]string{
		"Image":        `"image:1"`,
		"User":         `"10001:10001"`,
		"Env":          `["A=1","B=2","PASSWORD=` + password.Reveal() + `"]`,
		"ExposedPorts": `{"4096/tcp":{}}`,
		"Healthcheck":  `{"Test":["NONE"]}`,
	} {
		if got := field(body, name); got != want {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
	}
	if got, want := field(body, "HostConfig", "PortBindings"), `{"4096/tcp":[{"HostIp":"127.0.0.1","HostPort":""}]}`; got != want {
		t.Errorf("port bindings = %s, want %s", got, want)
	}
	mounts := field(body, "HostConfig", "Mounts")
	want := `[{"Source":"one-workspace","Target":"/workspace","Type":"volume","VolumeOptions":{"Labels":` +
		`{"berth.container":"one","berth.instance":"unit","berth.session":"ses-unit"}}}]`
	if mounts != want {
		t.Errorf("mounts = %s, want %s", mounts, want)
	}
	if got := field(body, "Labels", "berth.created"); got != `"2026-01-02T03:04:05.000006Z"` {
		t.Errorf("berth.created = %s, want the spec's time in RFC 3339 and UTC", got)
	}
	if !made.CreatedAt.Equal(unitSpec("one").CreatedAt) || made.State != session.StateStopped || !made.StartedAt.IsZero() || made.Session != "ses-unit" {
		t.Errorf("made = %+v, want the spec's session and time, in state created", made)
	}
}

func TestCreateOmitsFieldsOfNewerVersions(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{"1.41": "null", "1.42": "null", "1.43": `{"berth.session":"ses-unit"}`, "1.51": `{"berth.session":"ses-unit"}`} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			e := newFakeEngine(t, version)
			if _, err := e.open(nil).Create(t.Context(), unitSpec("one")); err != nil {
				t.Fatalf("create: %v", err)
			}
			if got := field(e.body(), "HostConfig", "Annotations"); got != want {
				t.Errorf("annotations = %s, want %s: 1.43 introduced them, and 1.41 silently ignores them", got, want)
			}
			if got := field(e.body(), "HostConfig", "CgroupnsMode"); got != `"private"` {
				t.Errorf("cgroup namespace = %s, want private: every supported version has it", got)
			}
		})
	}
}

func TestWeakenedContainerIsRemoved(t *testing.T) {
	t.Parallel()
	for field, weaken := range map[string]func(*container.HostConfig){
		"capabilities dropped":     func(h *container.HostConfig) { h.CapDrop = nil },
		"capabilities added":       func(h *container.HostConfig) { h.CapAdd = []string{"SYS_ADMIN"} },
		"no new privileges":        func(h *container.HostConfig) { h.SecurityOpt = nil },
		"security options":         func(h *container.HostConfig) { h.SecurityOpt = append(h.SecurityOpt, "seccomp=unconfined") },
		"seccomp profile":          func(h *container.HostConfig) { h.SecurityOpt = h.SecurityOpt[:1] },
		"foreign seccomp profile":  func(h *container.HostConfig) { h.SecurityOpt[1] = `seccomp={"defaultAction":"SCMP_ACT_ALLOW"}` },
		"privileged":               func(h *container.HostConfig) { h.Privileged = true },
		"read-only root":           func(h *container.HostConfig) { h.ReadonlyRootfs = false },
		"masked paths":             func(h *container.HostConfig) { h.MaskedPaths = nil },
		"memory limit":             func(h *container.HostConfig) { h.Memory = 0 },
		"swap limit":               func(h *container.HostConfig) { h.MemorySwap = -1 },
		"cpu limit":                func(h *container.HostConfig) { h.CPUQuota = 0 },
		"pids limit":               func(h *container.HostConfig) { h.PidsLimit = nil },
		"private cgroup namespace": func(h *container.HostConfig) { h.CgroupnsMode = "host" },
		"private ipc namespace":    func(h *container.HostConfig) { h.IpcMode = "shareable" },
		"pid namespace":            func(h *container.HostConfig) { h.PidMode = "host" },
		"user namespace":           func(h *container.HostConfig) { h.UsernsMode = "host" },
		"network":                  func(h *container.HostConfig) { h.NetworkMode = "host" },
		"published port":           func(h *container.HostConfig) { h.PortBindings = nil },
		"bind mounts":              func(h *container.HostConfig) { h.Binds = []string{"/:/host"} },
		"volumes": func(h *container.HostConfig) {
			h.Mounts[0].VolumeOptions.DriverConfig = &mount.Driver{Options: map[string]string{"o": "bind", "device": "/etc"}}
		},
		"tmpfs":          func(h *container.HostConfig) { h.Tmpfs = nil },
		"devices":        func(h *container.HostConfig) { h.Devices = []container.DeviceMapping{{PathOnHost: "/dev/kvm"}} },
		"ulimits":        func(h *container.HostConfig) { h.Ulimits = h.Ulimits[:1] },
		"init":           func(h *container.HostConfig) { h.Init = nil },
		"log rotation":   func(h *container.HostConfig) { h.LogConfig.Config = nil },
		"restart policy": func(h *container.HostConfig) { h.RestartPolicy.Name = "always" },
	} {
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			e := newFakeEngine(t, "1.41")
			e.weaken = weaken
			_, err := e.open(nil).Create(t.Context(), unitSpec("weak"))
			wantCode(t, err, session.CodeInternal, "the engine did not do what it was asked")
			if !strings.Contains(session.MessageOf(err), field) {
				t.Errorf("message = %q, want %q named in it", session.MessageOf(err), field)
			}
			if diff := cmp.Diff([]string{}, e.left()); diff != "" {
				t.Errorf("containers left (-want +got):\n%s", diff)
			}
		})
	}
}

// A limit other than the one that was asked for is a fault.
func TestContainerWithOtherLimitIsRemoved(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		weaken func(*container.HostConfig)
		field  string
	}{
		"memory raised":         {func(h *container.HostConfig) { h.Memory++ }, "memory limit"},
		"memory lowered":        {func(h *container.HostConfig) { h.Memory-- }, "memory limit"},
		"swap by default":       {func(h *container.HostConfig) { h.MemorySwap = 2 * h.Memory }, "swap limit"},
		"swap left out":         {func(h *container.HostConfig) { h.MemorySwap = 0 }, "swap limit"},
		"quota raised":          {func(h *container.HostConfig) { h.CPUQuota *= 2 }, "cpu limit"},
		"quota without an end":  {func(h *container.HostConfig) { h.CPUQuota = -1 }, "cpu limit"},
		"period shortened":      {func(h *container.HostConfig) { h.CPUPeriod /= 2 }, "cpu limit"},
		"period left out":       {func(h *container.HostConfig) { h.CPUPeriod = 0 }, "cpu limit"},
		"CPUs by another name":  {func(h *container.HostConfig) { h.CPUQuota, h.CPUPeriod, h.NanoCPUs = 0, 0, 8e9 }, "cpu limit"},
		"processes raised":      {func(h *container.HostConfig) { h.PidsLimit = new(*h.PidsLimit + 1) }, "pids limit"},
		"processes without end": {func(h *container.HostConfig) { h.PidsLimit = new(int64(-1)) }, "pids limit"},
		"no kill at the limit":  {func(h *container.HostConfig) { h.OomKillDisable = new(true) }, "oom killer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newFakeEngine(t, "1.41")
			e.weaken = test.weaken
			_, err := e.open(nil).Create(t.Context(), unitSpec("weak"))
			wantCode(t, err, session.CodeInternal, "the engine did not do what it was asked")
			if got := session.MessageOf(err); !strings.Contains(got, "("+test.field+")") {
				t.Errorf("message = %q, want %q and nothing else named in it", got, test.field)
			}
			if diff := cmp.Diff([]string{}, e.left()); diff != "" {
				t.Errorf("containers left (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLostAnswerToCreateIsUndone(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.41")
	e.on("POST /containers/create", func(w http.ResponseWriter, r *http.Request) {
		e.create(w, r, func(any) { // it makes the container, and its answer is lost
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_ = conn.Close()
			}
		})
	})
	_, err := e.open(nil).Create(t.Context(), unitSpec("lost"))
	wantCode(t, err, session.CodeEngineUnavailable, "no answer came")
	if diff := cmp.Diff([]string{}, e.left()); diff != "" {
		t.Errorf("containers left (-want +got):\n%s", diff)
	}
}

func TestLostCreateNeverRemovesAnEarlierContainer(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.41")
	r := e.open(nil)
	if _, err := r.Create(t.Context(), unitSpec("kept")); err != nil {
		t.Fatalf("create: %v", err)
	}
	e.on("POST /containers/create", hangUp)
	_, err := r.Create(t.Context(), unitSpec("kept"))
	wantCode(t, err, session.CodeEngineUnavailable, "no answer came")
	if diff := cmp.Diff([]string{"kept"}, e.left()); diff != "" {
		t.Errorf("containers left (-want +got): the first one has the same labels but for the attempt's\n%s", diff)
	}
}

func TestCanceledCreateIsUndone(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.41")
	ctx, leave := context.WithCancel(t.Context())
	e.on("POST /containers/create", func(w http.ResponseWriter, r *http.Request) {
		leave()
		e.answer(w, r, "POST /containers/create", r.URL.Path)
	})
	_, err := e.open(nil).Create(ctx, unitSpec("left"))
	wantCode(t, err, session.CodeCanceled, "the caller has left")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want context.Canceled in its chain", err)
	}
	if diff := cmp.Diff([]string{}, e.left()); diff != "" {
		t.Errorf("containers left (-want +got):\n%s", diff)
	}
}

func TestCreateErrorIncludesFailedCleanUp(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.41")
	e.weaken = func(h *container.HostConfig) { h.Privileged = true }
	e.on("DELETE /containers/*", engineError(http.StatusInternalServerError, "the disk is on fire"))
	_, err := e.open(func(o *docker.Options) { o.Sequential = true }).Create(t.Context(), unitSpec("stuck"))
	wantCode(t, err, session.CodeInternal, "the container is not what it should be")
	if err == nil || !strings.Contains(err.Error(), "the disk is on fire") {
		t.Errorf("error = %v, want the failed removal in it: the container is left", err)
	}
}

// internalNetwork makes the engine have one that is not an interface of this machine.
func (e *fakeEngine) internalNetwork() {
	e.on("GET /networks", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `[{"Name":"berth-internal","Id":"0123456789abcdef","Driver":"bridge","Internal":true,
			"Options":{"com.docker.network.bridge.enable_icc":"false"},"IPAM":{"Config":[{"Subnet":"10.77.0.0/24","Gateway":"10.77.0.1"}]}}]`)
	})
}

func TestListedContainerNeedsARouteToItsNetwork(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.41")
	e.internalNetwork()
	spec := unitSpec("far")
	spec.Egress = session.EgressListed
	_, err := e.open(nil).Create(t.Context(), spec)
	wantCode(t, err, session.CodeInvalid, "an internal network publishes no ports, and its bridge is not here")
	if text := session.MessageOf(err); !strings.Contains(text, "egress: open") {
		t.Errorf("message = %q, want a remedy", text)
	}
	if _, err := e.open(func(o *docker.Options) { o.Route = docker.RouteNetwork }).Create(t.Context(), spec); err != nil {
		t.Fatalf("with a route that is said to exist: %v", err)
	}
	body := e.body()
	for name, want := range map[string]string{
		"NetworkMode": `"berth-internal"`, "Dns": `["10.77.0.1"]`, "DnsSearch": `["."]`, "PortBindings": `null`,
	} {
		if got := field(body, "HostConfig", name); got != want {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
	}
}

func TestListedContainerWithOtherNameServerIsRemoved(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.41")
	e.internalNetwork()
	e.weaken = func(h *container.HostConfig) { h.DNS = nil }
	spec := unitSpec("leaks")
	spec.Egress = session.EgressNone
	_, err := e.open(func(o *docker.Options) { o.Route = docker.RouteNetwork }).Create(t.Context(), spec)
	wantCode(t, err, session.CodeInternal, "names would be asked for at the host's name server")
	if diff := cmp.Diff([]string{}, e.left()); diff != "" {
		t.Errorf("containers left (-want +got):\n%s", diff)
	}
}
