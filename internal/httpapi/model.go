package httpapi

import (
	"strings"
	"time"

	"berth/internal/origin"
	"berth/internal/session"
)

// Session is a session in the API. The names are those of the sessions table; digests and credentials are not
// part of it.
type Session struct {
	ID             session.ID       `json:"session_id" example:"ses-gezdgnbvgy3tqojq"`
	Owner          string           `json:"owner,omitempty"`
	Status         session.Status   `json:"status" enum:"creating,running,stopped,error"`
	LastError      string           `json:"last_error,omitempty" doc:"why the last operation failed"`
	Operation      *Operation       `json:"operation,omitempty" doc:"the operation in progress"`
	Path           string           `json:"path" doc:"where programs reach the session's server, below this server's address" example:"/s/ses-gezdgnbvgy3tqojq/"`
	Addresses      []Address        `json:"addresses,omitempty" doc:"every address that is known; the one for most clients is the first"`
	Profile        string           `json:"profile"`
	Image          string           `json:"image"`
	ImageSource    string           `json:"image_source,omitempty" enum:"profile,chosen" doc:"profile: the session follows its profile's image; absent: it keeps its image until it is upgraded, like a chosen one"`
	OutOfDate      []session.Part   `json:"out_of_date,omitempty" enum:"image,limits,environment,profile" doc:"what the next start or an upgrade would change; shown to the operator, of one session at a time"`
	Shape          Shape            `json:"shape" doc:"its limits, and what was asked for at its creation"`
	Upgrade        *Upgrade         `json:"upgrade,omitempty" doc:"the upgrade in progress, or the newest one, which can be taken back"`
	ContainerName  string           `json:"container_name"`
	ContainerID    string           `json:"container_id,omitempty"`
	HostDir        string           `json:"host_dir,omitempty" doc:"directory of the workspace on the engine's host"`
	Port           int              `json:"port,omitempty" doc:"published port; absent while the session does not run"`
	CreatedAt      time.Time        `json:"created_at"`
	LastAccessed   time.Time        `json:"last_accessed"`
	TokenExpiresAt *time.Time       `json:"token_expires_at,omitempty"`
	ExpiresAt      *time.Time       `json:"expires_at,omitempty"`
	StopReason     string           `json:"stop_reason,omitempty" enum:"idle,lifetime,engine,size" doc:"why it was stopped without a request; idle and engine wake with the next request, and engine is started again by itself"`
	StopsAt        *time.Time       `json:"stops_at,omitempty" doc:"when it is stopped unless it is used; absent: never"`
	KeptAliveBy    string           `json:"kept_alive_by,omitempty" enum:"activity,busy" doc:"busy: its server is at work although no client uses it"`
	Workspace      *WorkspaceSize   `json:"workspace,omitempty" doc:"the size of its volumes on the engine's disk; absent where Berth cannot read them"`
	RestartCount   int              `json:"restart_count"`
	Metadata       session.Metadata `json:"metadata,omitempty"`
}

// Address is one address of a session.
type Address struct {
	By     string `json:"by" enum:"host,port,localhost,path" doc:"localhost: browsers on the machine itself resolve it, most programs do not; path: for programs only"`
	URL    string `json:"url" example:"https://ses-gezdgnbvgy3tqojq.sessions.example.com/"`
	Attach string `json:"attach,omitempty" doc:"the command of a terminal, for a shell with the session's token in OPENCODE_SERVER_PASSWORD; absent where programs do not resolve the name"`
}

// addressOf converts an address for the API.
func addressOf(at origin.Address) Address {
	out := Address{By: string(at.Way), URL: at.URL}
	if at.Way.ForPrograms() {
		out.Attach = Attach(at.URL)
	}
	return out
}

// Attach is the command with which a terminal attaches to a session's address, in a shell with the token in a variable.
func Attach(address string) string {
	return `opencode attach ` + strings.TrimSuffix(address, "/") + ` -p "$OPENCODE_SERVER_PASSWORD"`
}

// Operation is an operation in progress.
type Operation struct {
	Kind     session.Kind `json:"kind" enum:"create,start,stop,restart,delete,upgrade"`
	Deadline time.Time    `json:"deadline" doc:"when the process that runs it gives it up, by that process's clock; another process takes it over later than that, or at once when that process has ended. Of a failed operation that is repeated: when it is tried again"`
}

// Upgrade is a change to another image.
type Upgrade struct {
	Step     session.UpgradeStep `json:"step" enum:"copy,switch,revert,return" doc:"switch, without an operation in progress: it is done and can be taken back"`
	At       time.Time           `json:"at" doc:"of the copy of the state"`
	Image    string              `json:"image" doc:"moved to"`
	Previous string              `json:"previous_image"`
}

// WorkspaceSize is the size of a session's volumes, workspace and state together.
type WorkspaceSize struct {
	Bytes      int64     `json:"bytes"`
	Partial    bool      `json:"partial,omitempty" doc:"there is more: the measurement was cut short"`
	Level      string    `json:"level" enum:"ok,warning,limit"`
	MeasuredAt time.Time `json:"measured_at"`
}

// NewSession is the response to a create: the session and its token.
type NewSession struct {
	Session
	Token string `json:"token" doc:"opens this session and nothing else; not shown again"`
}

// Auth is the public state of a session's token.
type Auth struct {
	ID        session.ID `json:"session_id"`
	Valid     bool       `json:"valid" doc:"whether there is a token that has not expired"`
	RotatedAt time.Time  `json:"token_rotated_at"`
	ExpiresAt *time.Time `json:"token_expires_at,omitempty" doc:"absent: never"`

	PreviousExpiresAt *time.Time `json:"previous_token_expires_at,omitempty" doc:"until when the previous token is accepted; absent: it is not"`
}

// NewToken is the response to a rotation.
type NewToken struct {
	Auth
	Token string `json:"token" doc:"not shown again"`
}

// sessionOf converts a session for the API, with its idle deadline and the size of its volumes.
func (a *API) sessionOf(s session.Session) Session {
	out := shown(s)
	out.Shape = shapeOf(s.Shape, a.Sessions.LimitsOf(s))
	out.Workspace = a.Size(s.ID)
	for _, at := range a.Addresses(s.ID) {
		out.Addresses = append(out.Addresses, addressOf(at))
	}
	idle := a.Sessions.IdleDeadline(s)
	out.StopsAt = timeOf(idle.Until)
	switch {
	case s.Status != session.Running || idle.Until.IsZero():
	case idle.Busy:
		out.KeptAliveBy = "busy"
	default:
		out.KeptAliveBy = "activity"
	}
	return out
}

func shown(s session.Session) Session {
	out := Session{
		ID: s.ID, Owner: s.Owner, Status: s.Status, LastError: s.LastError, Path: origin.Path(s.ID),
		Profile: s.Profile, Image: s.Image, ImageSource: string(s.ImageSource), ContainerName: s.ContainerName, ContainerID: s.ContainerID, HostDir: s.HostDir,
		Port: s.Port, CreatedAt: s.CreatedAt, LastAccessed: s.LastAccessed, TokenExpiresAt: timeOf(s.Token.ExpiresAt),
		ExpiresAt: timeOf(s.ExpiresAt), StopReason: string(s.StopReason), RestartCount: s.RestartCount, Metadata: s.Metadata,
	}
	if s.Operation != nil {
		out.Operation = &Operation{Kind: s.Operation.Kind, Deadline: s.Operation.Deadline}
	}
	if u := s.Upgrade; u != nil {
		out.Upgrade = &Upgrade{Step: u.Step, At: u.At, Image: u.Image, Previous: u.Previous}
	}
	return out
}

// timeOf returns nil for the zero time.
func timeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
