package docker_test

import (
	"testing"

	"berth/internal/docker"
	"berth/internal/runtimetest"
	"berth/internal/session"
)

func TestRuntimeKeepsItsPromises(t *testing.T) {
	t.Parallel()
	w, other := setup(t, nil), setup(t, func(o *docker.Options) { o.MaxOperations = 1 })
	runtimetest.Run(t, func(*testing.T) runtimetest.Subject {
		return runtimetest.Subject{Runtime: w.Runtime, Other: other.Runtime, Spec: func(name string) session.Spec {
			spec := w.spec(name)
			spec.Name, spec.Session, spec.Credential = name, session.NewID(), session.NewToken(32)
			return spec
		}}
	})
}
