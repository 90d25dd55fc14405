package httpapi

import (
	"math"

	"berth/internal/session"
)

// ShapeParams are what a create may ask for beside its profile. They are exported as [IDParam] is.
type ShapeParams struct {
	Memory     string            `json:"memory,omitempty" maxLength:"32" example:"2g" doc:"memory limit; the profile's or operator's if absent, never more than MAX_SESSION_MEMORY"`
	CPUs       float64           `json:"cpus,omitempty" minimum:"0" maximum:"1048576" example:"1.5" doc:"limit of processor time, in CPUs; at most MAX_SESSION_CPUS"`
	PIDs       int64             `json:"pids,omitempty" minimum:"0" doc:"limit of processes and threads; at most MAX_SESSION_PIDS"`
	Env        map[string]string `json:"env,omitempty" doc:"environment of the session's server, at most 64 variables of 32 KiB together: kept with the session, never shown again except to its own programs"`
	Repository string            `json:"repository,omitempty" maxLength:"2048" example:"https://github.com/team/app.git" doc:"git repository that is cloned into the workspace before the session is ready"`
	Ref        string            `json:"ref,omitempty" maxLength:"255" doc:"branch, tag or commit of the repository; its default branch if absent"`
	Egress     string            `json:"egress,omitempty" enum:"none,listed,open" doc:"what the session reaches of the outside: the profile's or less"`
	Allow      []string          `json:"egress_allow,omitempty" maxItems:"64" doc:"lists and rules of egress \"listed\", within those of the profile"`
}

// shape returns what is asked for. The error is a CodeInvalid error.
func (p ShapeParams) shape() (session.Shape, error) {
	s := session.Shape{
		Limits: session.Limits{CPUs: session.CPUs(math.Round(p.CPUs * float64(session.OneCPU))), Processes: p.PIDs},
		Env:    p.Env, Repository: p.Repository, Ref: p.Ref, Egress: session.EgressMode(p.Egress), Allow: p.Allow,
	}
	if p.Memory == "" {
		return s, nil
	}
	memory, err := session.ParseBytes(p.Memory)
	if err != nil {
		return session.Shape{}, session.Errorf(session.CodeInvalid, "memory: %v", err)
	}
	s.Limits.Memory = memory
	return s, nil
}

// Shape is what a session's containers get, and what was asked for beside the profile.
type Shape struct {
	Memory     string   `json:"memory,omitempty" example:"4g" doc:"memory limit of its next container"`
	CPUs       float64  `json:"cpus,omitempty" example:"1.5" doc:"limit of processor time of its next container, in CPUs"`
	PIDs       int64    `json:"pids,omitempty" doc:"limit of processes and threads of its next container"`
	Env        []string `json:"env,omitempty" doc:"names of the variables that were set at its creation; their values are not shown"`
	Repository string   `json:"repository,omitempty" doc:"git repository that was cloned into the workspace"`
	Ref        string   `json:"ref,omitempty" doc:"its branch, tag or commit; absent: its default branch"`
	Egress     string   `json:"egress,omitempty" enum:"none,listed,open" doc:"what was asked for; absent: the profile's"`
	Allow      []string `json:"egress_allow,omitempty" doc:"what was asked for; absent: the profile's"`
}

// shapeOf converts a shape for the API. limits are those of the next container.
func shapeOf(s session.Shape, limits session.Limits) Shape {
	out := Shape{
		CPUs: float64(limits.CPUs) / float64(session.OneCPU), PIDs: limits.Processes, Env: s.Env.Names(),
		Repository: s.Repository, Ref: s.Ref, Egress: string(s.Egress), Allow: s.Allow,
	}
	if limits.Memory > 0 {
		out.Memory = limits.Memory.String()
	}
	return out
}
