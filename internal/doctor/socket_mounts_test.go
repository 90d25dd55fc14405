package doctor

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/moby/moby/api/types/container"
)

func TestSocketMounts(t *testing.T) {
	t.Parallel()
	checkCases{
		"good": {func(t *testing.T, o *Options, _ *fakeEngine) {
			write(t, filepath.Join(o.ComposePaths[0], "compose.yaml"), "services: {a: {volumes: ['./data:/data']}}\n")
		}, []string{"pass compose-clean", "pass containers-clean"}},
		"nothing there": {nil, []string{"skipped no-compose-file", "pass containers-clean"}},
		"in a compose file": {func(t *testing.T, o *Options, _ *fakeEngine) {
			write(t, filepath.Join(o.ComposePaths[0], "docker-compose.prod.yml"), "services:\n  a:\n    volumes:\n      - /var/run/docker.sock:/var/run/docker.sock\n")
		}, []string{"fail socket-in-compose", "pass containers-clean"}},
		"by a relative way": {func(t *testing.T, o *Options, _ *fakeEngine) {
			o.Sockets = []string{"unix://" + filepath.Join(o.ComposePaths[0], "run", "engine.sock")}
			write(t, filepath.Join(o.ComposePaths[0], "compose.yaml"), "services: {a: {volumes: ['./run:/x']}}\n")
		}, []string{"fail socket-in-compose", "pass containers-clean"}},
		"broken file": {func(t *testing.T, o *Options, _ *fakeEngine) {
			write(t, filepath.Join(o.ComposePaths[0], "compose.yaml"), "services: [\n")
		}, []string{"warn compose-unreadable", "pass containers-clean"}},
		"missing file": {func(t *testing.T, o *Options, _ *fakeEngine) {
			o.ComposePaths = []string{filepath.Join(t.TempDir(), "none.yaml")}
		}, []string{"warn compose-unreadable", "pass containers-clean"}},
		"in a container": {func(_ *testing.T, _ *Options, e *fakeEngine) {
			e.containers = []container.Summary{{ID: "1", Mounts: []container.MountPoint{{Source: "/run/docker.sock", Destination: "/x"}}}}
		}, []string{"skipped no-compose-file", "fail socket-in-container"}},
		"the whole host": {func(_ *testing.T, _ *Options, e *fakeEngine) {
			e.containers = []container.Summary{{ID: "1", Mounts: []container.MountPoint{{Source: "/", Destination: "/host"}}}}
		}, []string{"skipped no-compose-file", "fail socket-in-container"}},
		"no engine": {noEngine, []string{"skipped no-compose-file", "skipped engine-not-reached"}},
		"engine unavailable": {
			func(_ *testing.T, _ *Options, e *fakeEngine) { e.err = errors.New("unavailable") },
			[]string{"skipped no-compose-file", "skipped engine-not-reached"},
		},
	}.run(t, "socket-mounts")
}
