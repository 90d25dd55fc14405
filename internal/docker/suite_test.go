package docker_test

import (
	"testing"

	"berth/internal/access"
	"berth/internal/docker"
	"berth/internal/runtimetest"
	"berth/internal/session"
)

func TestRuntimeSuite(t *testing.T) {
	t.Parallel()
	for _, route := range []string{docker.RoutePublished, docker.RouteNetwork} {
		t.Run(route, func(t *testing.T) {
			t.Parallel()
			w := setup(t, func(o *docker.Options) { o.Route = route })
			other := setup(t, func(o *docker.Options) { o.Route, o.MaxOperations = route, 1 })
			runtimetest.Run(t, func(*testing.T) runtimetest.Subject {
				return runtimetest.Subject{Runtime: w.Runtime, Other: other.Runtime, Spec: func(name string) session.Spec {
					spec := w.spec(name)
					spec.Name, spec.Session, spec.Credential = name, session.NewID(), access.NewToken(32)
					return spec
				}}
			})
		})
	}
}
