package session

import "time"

// EngineOwner says who manages the containers of an installation on an engine.
type EngineOwner struct {
	ID      string   // of the place where its sessions are; the same after a restart, another one for a copy
	Former  []string // IDs that the same owner has had; they are replaced without a question
	Process string   // this start, where there may be one process only; empty: processes share the containers
	Host    string   // for operators
}

// Remnant is what the engine has of a session: its container, its volumes, or both.
type Remnant struct {
	Session       ID // as its label says; not checked
	ContainerName string
	Container     *Container // nil: only volumes are left
	Profile       string     // name; empty: made before that was written down
	Port          string     // that the server listens on in the container; empty: not known
	Fits          bool       // the container has the credential that is derived from its name today
	CreatedAt     time.Time
}
