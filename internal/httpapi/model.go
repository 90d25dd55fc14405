package httpapi

import (
	"time"

	"berth/internal/session"
)

// Session is a session as callers see it. The names are those of the sessions table; digests and credentials are not
// part of it.
type Session struct {
	ID             session.ID       `json:"session_id" example:"ses-gezdgnbvgy3tqojq"`
	Owner          string           `json:"owner,omitempty"`
	Status         session.Status   `json:"status" enum:"creating,running,stopped,error"`
	LastError      string           `json:"last_error,omitempty" doc:"why the last operation failed"`
	Operation      *Operation       `json:"operation,omitempty" doc:"what is being done to the session now"`
	Path           string           `json:"path" doc:"where the session's server is, below this server's address" example:"/s/ses-gezdgnbvgy3tqojq/"`
	Profile        string           `json:"profile"`
	Image          string           `json:"image"`
	ImageSource    string           `json:"image_source,omitempty" enum:"profile,chosen" doc:"profile: the session follows its profile's image; absent: it keeps its image until it is upgraded, like a chosen one"`
	OutOfDate      []session.Part   `json:"out_of_date,omitempty" enum:"image,limits,environment,profile" doc:"what the next start or an upgrade would change; shown to the operator, of one session at a time"`
	Upgrade        *Upgrade         `json:"upgrade,omitempty" doc:"the upgrade in progress, or the newest one, which can be taken back"`
	ContainerName  string           `json:"container_name"`
	ContainerID    string           `json:"container_id,omitempty"`
	HostDir        string           `json:"host_dir,omitempty" doc:"where the workspace lives on the engine's host"`
	Port           int              `json:"port,omitempty" doc:"published port; absent while the session does not run"`
	CreatedAt      time.Time        `json:"created_at"`
	LastAccessed   time.Time        `json:"last_accessed"`
	TokenExpiresAt *time.Time       `json:"token_expires_at,omitempty"`
	ExpiresAt      *time.Time       `json:"expires_at,omitempty"`
	StopReason     string           `json:"stop_reason,omitempty" enum:"idle,lifetime,engine,size" doc:"why it was stopped without anybody asking for it; idle and engine wake with the next request, and engine is started again by itself"`
	StopsAt        *time.Time       `json:"stops_at,omitempty" doc:"when it is stopped unless it is used; absent: never"`
	KeptAliveBy    string           `json:"kept_alive_by,omitempty" enum:"activity,busy" doc:"busy: its server is at work although nobody uses it"`
	Workspace      *WorkspaceSize   `json:"workspace,omitempty" doc:"what its volumes take on the engine's disk; absent where Berth cannot read them"`
	RestartCount   int              `json:"restart_count"`
	Metadata       session.Metadata `json:"metadata,omitempty"`
}

// Operation is work in progress.
type Operation struct {
	Kind     session.Kind `json:"kind" enum:"create,start,stop,restart,delete,upgrade"`
	Deadline time.Time    `json:"deadline" doc:"when another process may take it over"`
}

// Upgrade is a move to another image.
type Upgrade struct {
	Step     session.UpgradeStep `json:"step" enum:"copy,switch,revert,return" doc:"switch, without an operation in progress: it is done and can be taken back"`
	At       time.Time           `json:"at" doc:"of the copy of the state"`
	Image    string              `json:"image" doc:"moved to"`
	Previous string              `json:"previous_image"`
}

// WorkspaceSize is what a session's volumes take, workspace and state together.
type WorkspaceSize struct {
	Bytes      int64     `json:"bytes"`
	Partial    bool      `json:"partial,omitempty" doc:"there is more: the measurement was cut short"`
	Level      string    `json:"level" enum:"ok,warning,limit"`
	MeasuredAt time.Time `json:"measured_at"`
}

// Workspaces is what the volumes of all sessions take, as far as they could be measured.
type Workspaces struct {
	Measured   int       `json:"measured" doc:"sessions that could be measured; 0 where Berth cannot read the engine's volumes"`
	Bytes      int64     `json:"bytes"`
	Largest    int64     `json:"largest_bytes"`
	Warned     int       `json:"warned" doc:"sessions at BERTH_WORKSPACE_WARN or above"`
	Over       int       `json:"over" doc:"sessions at BERTH_WORKSPACE_LIMIT or above"`
	MeasuredAt time.Time `json:"measured_at"`
}

// NewSession is the answer to a create: the session and its token.
type NewSession struct {
	Session
	Token string `json:"token" doc:"opens this session and nothing else; not shown again"`
}

// Auth is what may be known about a session's token.
type Auth struct {
	ID        session.ID `json:"session_id"`
	Valid     bool       `json:"valid" doc:"whether there is a token that has not expired"`
	RotatedAt time.Time  `json:"token_rotated_at"`
	ExpiresAt *time.Time `json:"token_expires_at,omitempty" doc:"absent: never"`

	PreviousExpiresAt *time.Time `json:"previous_token_expires_at,omitempty" doc:"until when the token before is let in; absent: it is not"`
}

// NewToken is the answer to a rotation.
type NewToken struct {
	Auth
	Token string `json:"token" doc:"not shown again"`
}

// Health is how Berth is. Strangers see Status only.
type Health struct {
	Status         string                 `json:"status" enum:"healthy,degraded,unhealthy"`
	Reasons        []string               `json:"reasons,omitempty" doc:"why the status is not healthy"`
	Version        string                 `json:"version,omitempty"`
	StorageBackend string                 `json:"storage_backend,omitempty" enum:"database,json"`
	Database       *DatabaseHealth        `json:"database,omitempty"`
	Instances      []Instance             `json:"instances,omitempty" doc:"the processes on the same database"`
	Runtime        *RuntimeHealth         `json:"runtime,omitempty"`
	Sessions       map[session.Status]int `json:"sessions,omitempty" doc:"sessions by status"`
	Authenticated  *int                   `json:"authenticated_sessions,omitempty" doc:"sessions whose token is good now"`
	Containers     ContainerHealth        `json:"container_health,omitempty" doc:"see GET /health/container"`
	ResourceLimits *ResourceLimits        `json:"resource_limits,omitempty"`
	Resources      *SystemResources       `json:"system_resources,omitempty"`
	Disks          []Disk                 `json:"disks,omitempty" doc:"how full the disks are that Berth depends on"`
	Alerts         []ResourceAlert        `json:"resource_alerts,omitzero" doc:"what the host is short of; empty when all is well"`
	Pool           *Pool                  `json:"http_connection_pool,omitempty"`
	Workspaces     *Workspaces            `json:"workspaces,omitempty" doc:"absent before the first measurement"`
	Certificates   []Certificate          `json:"certificates,omitempty" doc:"what secures the connection to the engine"`
	Audit          *Audit                 `json:"security_audit,omitempty" doc:"the newest result of the checks of berth doctor"`
}

// Certificate is how long one certificate of the connection to the engine still lives. The engine's is the one that it has
// loaded, as it has shown it.
type Certificate struct {
	Certificate string    `json:"certificate" enum:"engine,client,ca"`
	Subject     string    `json:"subject"`
	Serial      string    `json:"serial" doc:"hexadecimal"`
	ExpiresAt   time.Time `json:"expires_at"`
	DaysLeft    int       `json:"days_left" doc:"whole days; negative when it has expired"`
	Level       string    `json:"level" enum:"ok,warning,critical" doc:"warning from 30 days before the end, critical from 7"`
}

// Audit is the security audit checklist as it was last gone through.
type Audit struct {
	Status    string      `json:"status" enum:"pass,warn,fail,skipped" doc:"of the gravest item"`
	CheckedAt time.Time   `json:"checked_at"`
	Items     []AuditItem `json:"items"`
}

// AuditItem is one item of the checklist.
type AuditItem struct {
	Item     int            `json:"item" doc:"its number in the checklist"`
	Check    string         `json:"check"`
	Status   string         `json:"status" enum:"pass,warn,fail,skipped"`
	Findings []AuditFinding `json:"findings"`
}

// AuditFinding is what a check has seen.
type AuditFinding struct {
	Status string `json:"status" enum:"pass,warn,fail,skipped"`
	Code   string `json:"code"`
	Seen   string `json:"seen"`
	Remedy string `json:"remedy,omitempty"`
}

// DatabaseHealth is how the database is, where it has the sessions.
type DatabaseHealth struct {
	Status         string        `json:"status" enum:"healthy,degraded,unavailable" doc:"degraded: changes of other instances are looked for, because the database does not notify of them"`
	Reason         string        `json:"reason,omitempty" doc:"why it is not healthy"`
	Since          *time.Time    `json:"since,omitempty" doc:"since when changes are journalled instead"`
	PendingChanges int           `json:"pending_changes" doc:"sessions whose changes are journalled and will flow back"`
	TotalSessions  int           `json:"total_sessions"`
	ActiveSessions int           `json:"active_sessions" doc:"creating or running"`
	DatabaseSize   string        `json:"database_size" example:"25 MB"`
	SchemaVersion  int64         `json:"schema_version"`
	Pool           *DatabasePool `json:"pool,omitempty"`
	Imports        []Import      `json:"imports,omitempty" doc:"files whose sessions were moved here"`
}

// DatabasePool counts this process's connections.
type DatabasePool struct {
	Total    int `json:"total"`
	Idle     int `json:"idle"`
	Acquired int `json:"acquired"`
	Max      int `json:"max"`
}

// Import is a file whose sessions were moved into the database.
type Import struct {
	Source string    `json:"source" doc:"digest of the file"`
	At     time.Time `json:"at"`
	Total  int       `json:"total"`
	Added  int       `json:"added"`
	Known  int       `json:"known" doc:"were there already"`
}

// Instance is a process that serves these sessions.
type Instance struct {
	ID        string    `json:"id"`
	Address   string    `json:"address" doc:"that it listens on"`
	Hostname  string    `json:"hostname"`
	Version   string    `json:"version"`
	StartedAt time.Time `json:"started_at"`
	SeenAt    time.Time `json:"seen_at" doc:"when it last renewed its lease"`
	Alive     bool      `json:"alive"`
	Self      bool      `json:"self" doc:"whether it is the one that answers"`
}

// RuntimeHealth is whether containers can be managed.
type RuntimeHealth struct {
	Kind   string `json:"kind" enum:"docker,process"`
	Status string `json:"status" enum:"healthy,unhealthy"`
	Detail string `json:"detail,omitempty" doc:"why it is unhealthy"`
}

// ResourceLimits are the limits of each session and of their number.
type ResourceLimits struct {
	MemoryLimit           session.Bytes `json:"memory_limit" example:"4g"`
	CPUQuota              int64         `json:"cpu_quota"`
	MaxConcurrentSessions int           `json:"max_concurrent_sessions"`
}

// SystemResources is how loaded the host is. Fractions are smoothed, and those that were measured last also when the status
// is unknown; before the first measurement there are none.
type SystemResources struct {
	Status      string     `json:"status" enum:"ok,warning,critical,unknown" doc:"no session is started while it is critical"`
	Host        string     `json:"host" enum:"engine,berth" doc:"which machine this is; berth: the sessions run on another one"`
	Memory      *float64   `json:"memory_percent,omitempty" doc:"fraction of memory in use, 0 to 1" example:"0.65"`
	CPU         *float64   `json:"cpu_percent,omitempty" doc:"fraction of CPU time in use, 0 to 1" example:"0.45"`
	MemoryStall *Stall     `json:"memory_stall,omitempty"`
	CPUStall    *Stall     `json:"cpu_stall,omitempty"`
	MeasuredAt  *time.Time `json:"measured_at,omitempty"`
}

// Stall is the kernel's own measure of pressure (PSI), where it has one.
type Stall struct {
	Some float64 `json:"some" doc:"fraction of the last 10 s in which some task waited for the resource"`
	Full float64 `json:"full" doc:"fraction of the last 10 s in which all tasks did"`
}

// Disk is how full a disk is. Numbers are those that were measured last also when the status is unknown.
type Disk struct {
	Disk       string     `json:"disk" enum:"engine,state" doc:"engine: images, containers and workspaces; state: Berth's own records"`
	Path       string     `json:"path,omitempty" doc:"a directory on it; absent: it is on another machine or cannot be seen from here"`
	Status     string     `json:"status" enum:"ok,warning,critical,unknown"`
	Used       *float64   `json:"used,omitempty" doc:"fraction of bytes or inodes in use, whichever is more" example:"0.65"`
	Free       *uint64    `json:"free_bytes,omitempty" doc:"bytes that are left"`
	MeasuredAt *time.Time `json:"measured_at,omitempty"`
}

// ResourceAlert says what the host is short of.
type ResourceAlert struct {
	Resource  string    `json:"resource" enum:"memory,cpu,engine_disk,state_disk"`
	Level     string    `json:"level" enum:"warning,critical"`
	Value     float64   `json:"value" doc:"fraction in use" example:"0.96"`
	Threshold float64   `json:"threshold" doc:"fraction that has been reached" example:"0.95"`
	Since     time.Time `json:"since"`
	Message   string    `json:"message" example:"host memory at 96 %, critical from 95 %"`
}

// Pool is the proxy's pool of upstream connections.
type Pool struct {
	Status      string     `json:"status" enum:"healthy,saturated" doc:"saturated: requests wait because their session has max_connections already"`
	Config      PoolConfig `json:"config"`
	Connections int64      `json:"connections" doc:"open, idle ones included"`
	Requests    int        `json:"requests" doc:"being served, without streams"`
	Waiting     int64      `json:"waiting"`
	Streams     int        `json:"streams" doc:"event streams and WebSockets"`
}

// PoolConfig are the pool's settings.
type PoolConfig struct {
	MaxKeepaliveConnections int     `json:"max_keepalive_connections"`
	MaxConnections          int     `json:"max_connections"`
	KeepaliveExpiry         float64 `json:"keepalive_expiry" doc:"seconds"`
	ConnectTimeout          float64 `json:"connect_timeout" doc:"seconds"`
	ReadTimeout             float64 `json:"read_timeout" doc:"seconds"`
}

// sessionOf is a session as callers see it, with what keeps it up.
func (a *API) sessionOf(s session.Session) Session {
	out := shown(s)
	out.Workspace = a.Size(s.ID)
	stay := a.Sessions.Stay(s)
	out.StopsAt = timeOf(stay.Until)
	switch {
	case s.Status != session.Running || stay.Until.IsZero():
	case stay.Busy:
		out.KeptAliveBy = "busy"
	default:
		out.KeptAliveBy = "activity"
	}
	return out
}

func shown(s session.Session) Session {
	out := Session{
		ID: s.ID, Owner: s.Owner, Status: s.Status, LastError: s.LastError, Path: "/s/" + string(s.ID) + "/",
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

// timeOf gives nil for "never".
func timeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
