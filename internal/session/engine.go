package session

import "time"

// EngineOwner identifies the Berth that manages the containers of an installation on an engine.
type EngineOwner struct {
	ID      string   // of the store of its sessions; the same after a restart, a different one for a copy
	Former  []string // earlier IDs of the same owner; they are replaced without asking
	Process string   // identifies this start, if only one process is allowed; empty: processes share the containers
	Host    string   // for operators
}

// Remnant is what the engine has of a session: its container, its volumes, or both.
type Remnant struct {
	Session       ID // from its label; not checked
	ContainerName string
	Container     *Container // nil: only volumes are left
	Profile       string     // name; empty: created before the label existed
	Port          string     // on which the server listens in the container; empty: unknown
	Fits          bool       // the container has the credential that is derived from its name now
	CreatedAt     time.Time
}
