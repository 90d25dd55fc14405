package session

// Stage is how far the start of a session's server has come. Users see it.
type Stage string

// The stages, in their order, and the two ends of a start that does not succeed.
const (
	StageQueued    Stage = "queued"    // a start is requested, and not carried out yet, or another process carries it out
	StageContainer Stage = "container" // the container is created or started
	StageServer    Stage = "server"    // the container runs, and its server does not answer yet
	StageReady     Stage = "ready"     // the server answers
	StageStopped   Stage = "stopped"   // no start is in progress
	StageFailed    Stage = "failed"    // no start is in progress, and the last one failed
)

// Progress is the state of a session's start.
type Progress struct {
	Stage   Stage  `json:"stage"`
	Message string `json:"message,omitempty"` // of a failure, or of what takes long: one sentence for users; may be empty
}
