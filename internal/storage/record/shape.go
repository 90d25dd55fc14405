package record

import (
	"encoding/json"

	"berth/internal/session"
)

// storedShape is a [session.Shape] as stores keep it: with the values of its variables, which the shape itself never prints.
type storedShape struct {
	Memory     int64              `json:"memory,omitempty"`     // bytes
	CPUs       int64              `json:"nano_cpus,omitempty"`  // billionths of a CPU
	Processes  int64              `json:"pids,omitempty"`       //
	Env        map[string]string  `json:"env,omitempty"`        // by name, in clear text
	Repository string             `json:"repository,omitempty"` //
	Ref        string             `json:"ref,omitempty"`        //
	Egress     session.EgressMode `json:"egress,omitempty"`     //
	Allow      []string           `json:"egress_allow,omitempty"`
}

// shape is the shape of a session in one document, which is null for the zero shape.
func shape(g Group, name string, at func(*session.Session) *session.Shape) field {
	f := document(g, name, at, session.Shape.Clone)
	f.columns[0].Get = func(s *session.Session) (any, error) {
		v := *at(s)
		text, err := json.Marshal(storedShape{
			Memory: int64(v.Limits.Memory), CPUs: int64(v.Limits.CPUs), Processes: v.Limits.Processes, Env: v.Env,
			Repository: v.Repository, Ref: v.Ref, Egress: v.Egress, Allow: v.Allow,
		})
		if err != nil || string(text) == "{}" {
			return nil, err
		}
		return json.RawMessage(text), nil
	}
	f.columns[0].Set = func(s *session.Session, value any) error {
		var v storedShape
		if text, ok := value.(json.RawMessage); ok {
			if err := json.Unmarshal(text, &v); err != nil {
				return err
			}
		}
		*at(s) = session.Shape{
			Limits: session.Limits{Memory: session.Bytes(v.Memory), CPUs: session.CPUs(v.CPUs), Processes: v.Processes},
			Env:    v.Env, Repository: v.Repository, Ref: v.Ref, Egress: v.Egress, Allow: v.Allow,
		}
		return nil
	}
	f.same = func(a, b *session.Session) bool { return at(a).Same(*at(b)) }
	return f
}
